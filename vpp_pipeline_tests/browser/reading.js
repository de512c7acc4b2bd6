// What a reader of the report meets: sizes, names of drawings, contrast of every piece of text against what lies behind it.
() => {
  const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let node = element; node; node = node.parentElement) {
      if (!(node instanceof SVGElement)) layers.push(rgba(getComputedStyle(node).backgroundColor));
    }
    return layers.reverse().reduce((under, top) => over(top, under), rgba("Canvas").slice(0, 3));
  };
  const faint = [];
  let checked = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement;
    const box = element.getBoundingClientRect();
    const words = node.data.trim();
    const style = getComputedStyle(element);
    if (!words || ["TITLE", "DESC", "STYLE"].includes(element.tagName.toUpperCase())) continue;
    if (!box.width || !box.height || style.visibility === "hidden") continue;
    const ground = behind(element);
    const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), ground);
    const [low, high] = [light(ink), light(ground)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    checked += 1;
    if (ratio < (large ? 3 : 4.5)) faint.push(`${words.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  const wide = [...document.querySelectorAll("body *")].filter((element) => {
    if (element.closest("svg") && element.tagName !== "svg") return false;
    for (let node = element.parentElement; node && node !== document.body; node = node.parentElement) {
      if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(node).overflowX)) return false;
    }
    return element.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
  });
  return {
    checked,
    faint,
    wide: wide.slice(0, 5).map((element) => `${element.tagName}.${element.className}`),
    scrolls: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    nameless: [...document.querySelectorAll("svg")]
      .filter((svg) => !(svg.getAttribute("aria-hidden") === "true" || (svg.getAttribute("role") && svg.querySelector("title"))))
      .map((svg) => svg.outerHTML.slice(0, 120)),
    tables: [...document.querySelectorAll("table")].filter((table) => !table.querySelector("th")).length,
    ids: [...document.querySelectorAll("[id]")].map((element) => element.id),
    headings: [...document.querySelectorAll("h1, h2, h3, h4")].map((heading) => Number(heading.tagName[1])),
    language: document.documentElement.lang,
  };
}
