"""The day's report: one page without other files, readable by everyone, with the numbers of the warehouse."""

from __future__ import annotations

import doctest
import re
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import duckdb
import polars as pl
import pytest
from jinja2 import UndefinedError

from vpp_pipeline.core.calendar import note_on_source
from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.reporting import charts, html, svg
from vpp_pipeline.reporting import queries as asking
from vpp_pipeline.reporting.asset_pages import PAGES, layout
from vpp_pipeline.reporting.asset_pages.bids import PAGE as PUBLICATION
from vpp_pipeline.reporting.html import FOLDER, environment
from vpp_pipeline.reporting.page import SECTIONS, page, report_file, write_report
from vpp_pipeline.reporting.queries import Facts, read_facts
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.conftest import DAY
from vpp_pipeline_tests.published import published
from vpp_pipeline_tests.reporting.reading import contrast, parse, tables, themes, value, words

MOST_BYTES = 300 * 1024
CENT = 0.00501
ON_PAPER = ("ink", "faint", "link")
DRAWN = ("energy", "solar", "spin", "nonspin", "charge", "forecast", "ask", "offer", "limit", "owner", "paid")


@pytest.fixture(scope="module")
def data(solved_day, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(solved_day(), tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def shown(data: Path) -> str:
    return write_report(data, DAY).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def root(shown: str) -> ET.Element:
    return parse(shown)


def ask(data: Path, question: str) -> list[tuple]:
    with open_warehouse(data / "vpp.duckdb") as connection:
        return connection.execute(question).fetchall()


def test_it_is_one_small_file_that_fetches_nothing(shown: str, data: Path):
    assert report_file(data, DAY).stat().st_size <= MOST_BYTES
    for outside in ("http:", "https:", "//", "src=", "url(", "@import", "<script", "<link", "<iframe"):
        assert outside not in shown.replace("<!DOCTYPE html>", "")
    assert [file.name for file in (data / "reports").iterdir()] == [f"{DAY}.html"]


def test_the_same_facts_give_the_same_page(shown: str, data: Path):
    assert write_report(data, DAY).read_text(encoding="utf-8") == shown


def of_source(facts: Facts, source: str) -> Facts:
    rows = [{**row, "source": source} for row in facts["forecast"]]
    return replace(facts, results={**facts.results, "forecast": rows})


@pytest.mark.parametrize(("source", "is_warned"), [("synthetic", True), ("synthetic (file)", True), ("OASIS", False)])
def test_a_banner_warns_of_prices_that_no_market_has_published(source: str, is_warned: bool, data: Path):
    facts = read_facts(data / "vpp.duckdb", DAY)
    banners = parse(page(of_source(facts, source))).findall(".//p[@class='banner']")
    assert [words(banner) for banner in banners] == [f"Not for a market: {note_on_source(source)}."] * is_warned


def test_every_bid_is_in_the_table_with_its_figures(root: ET.Element, data: Path):
    rows = tables(root)["Bids of the day; prices per MWh, for reserve per MW and hour"]
    bids = ask(
        data,
        """select product, total_capacity_mw, bid_price_usd_per_mwh, forecast_price, expected_profit_usd, payments_usd,
                  coalition_size, 100 * reliability_score, satisfaction_score
           from bids.final_bids where status = 'bid'
           order by product != 'energy', expected_profit_usd desc, opportunity_id""",
    )
    assert [row[1] for row in rows] == [bid[0] for bid in bids]
    for row, bid in zip(rows, bids, strict=True):
        assert [value(cell) for cell in row[2:]] == pytest.approx([float(figure) for figure in bid[1:]], abs=0.0501)
        assert [value(cell) for cell in row[2:7]] == pytest.approx([float(figure) for figure in bid[1:6]], abs=CENT)


def test_the_figures_at_a_glance_add_up_from_the_tables(root: ET.Element, data: Path):
    cards = {
        words(card.find("dt")): words(card.findall("dd")[0]) for card in root.iterfind(".//dl[@class='cards']/div")
    }  # type: ignore[arg-type]
    (profit, paid, energy, reserve), *_ = ask(
        data,
        """select sum(expected_profit_usd), sum(payments_usd),
                  sum(total_capacity_mw * duration_hours) filter (product = 'energy'),
                  sum(total_capacity_mw * duration_hours) filter (product != 'energy')
           from bids.final_bids where status = 'bid'""",
    )
    assert value(cards["Expected profit"]) == pytest.approx(profit, abs=CENT)
    assert value(cards["Payments to owners"]) == pytest.approx(paid, abs=CENT)
    assert value(cards["Energy"].split()[0]) == pytest.approx(energy, abs=CENT)
    assert value(cards["Reserve"].split()[0]) == pytest.approx(reserve, abs=CENT)
    ((without,),) = ask(data, "select sum(expected_profit_usd) from bids.final_bids where product = 'energy'")
    assert 0.0 < without < profit
    assert value(cards["Without reserve"]) == pytest.approx(without, abs=CENT)
    assert cards["Failed checks"] == "0"


def test_each_resource_shows_what_it_earns_with_reserve_and_without(root: ET.Element, data: Path):
    (row,) = tables(root)["Expected earnings of each resource, with ancillary services and without"]
    assert row[:2] == ["vpp", "hourly"]
    assert row[3:5] == ["assumed", "assumed"]  # no certificate is known
    figures = ask(
        data,
        """select sum(expected_profit_usd) filter (product = 'energy'),
                  sum(expected_profit_usd) filter (product != 'energy'), sum(expected_profit_usd), sum(payments_usd)
           from bids.final_bids""",
    )
    assert [value(cell) for cell in row[5:]] == pytest.approx(list(figures[0]), abs=CENT)


def test_numbers_behind_the_charts_are_those_of_the_tables(root: ET.Element, data: Path):
    behind = tables(root)
    hours = ask(
        data,
        """select sum(discharge_kw), sum(solar_sold_kw), sum(spin_kw), sum(nonspin_kw), sum(grid_charge_kw),
                  sum(solar_charge_kw)
           from dispatch.schedule group by start_utc order by start_utc""",
    )
    for row, hour in zip(behind["Dispatch by hour, MW"], hours, strict=True):
        assert [value(cell) for cell in row[1:]] == pytest.approx([kw / 1000 for kw in hour], abs=0.000501)
    stored = ask(data, "select sum(stored_kwh) / 1000 from dispatch.schedule group by start_utc order by start_utc")
    shown = [value(row[2]) for row in behind["State of charge at the end of each hour, MWh"]]
    assert shown == pytest.approx([mwh for (mwh,) in stored], abs=CENT)
    steps = {row[0]: sum(value(cell) for cell in row[1:]) for row in behind["Prosumers at each step, by product"]}
    ((asked, bids, agreed),) = ask(data, "select sum(asked), sum(bids), sum(members) from negotiation.summary")
    ((delivering,),) = ask(data, "select count(*) from dispatch.payments")
    assert (steps["contacted"], steps["submitted an ask"], steps["agreed"]) == (asked, bids, agreed)
    assert steps["deliver"] == delivering
    scores = sum(value(cell) for row in behind["Deliveries by satisfaction"] for cell in row[1:])
    assert scores == delivering
    ((accepted,),) = ask(data, "select sum(accepted) from negotiation.segments")
    rounds = [behind[f"{name} by round"] for name in ("Energy", "Spin", "Nonspin")]
    assert sum(value(row[4]) for each in rounds for row in each) == accepted
    kinds = behind["Payments by archetype"]
    ((paid,),) = ask(data, "select sum(payment_usd) from dispatch.payments")
    assert sum(value(row[4]) for row in kinds) == pytest.approx(paid, abs=0.05)
    assert len(behind["Checks"]) == ask(data, "select count(*) from bids.checks")[0][0]


def test_it_says_how_to_make_the_bids_again(shown: str, data: Path):
    ((seed, fingerprint, version),) = ask(data, "select distinct seed, fingerprint, code_version from bids.final_bids")
    for told in (str(seed), fingerprint, version, f"python -m vpp_pipeline bids --date {DAY}"):
        assert told in shown


def test_settings_that_differ_from_the_defaults_are_in_the_command(data: Path):
    facts = read_facts(
        data / "vpp.duckdb",
        DAY,
        {"fleet": {"prosumers": 60, "seed": 7}, "negotiation": {"rounds": 5, "engine": "concession"}},
    )
    assert f"bids --date {DAY} --prosumers 60 --seed 7 --set negotiation.rounds=5<" in page(facts)


def test_a_screen_reader_finds_its_way(root: ET.Element):
    assert root.get("lang") == "en"
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    for link in root.iter("a"):
        assert link.get("href", "").removeprefix("#") in names
    for drawing in root.iter("svg"):
        assert drawing.get("role") == "img"
        title, told = drawing.find("title"), drawing.find("desc")
        assert title is not None
        assert told is not None
        assert title.get("id") == drawing.get("aria-labelledby")
        assert told.get("id") == drawing.get("aria-describedby")
        assert len(words(told)) > 20
    for table in root.iter("table"):
        assert table.find("caption") is not None
        assert all(head.get("scope") for head in table.iter("th"))
    assert all(
        region.get("tabindex") == "0" and region.get("aria-label") for region in root.iterfind(".//div[@role='region']")
    )
    levels = [int(element.tag[1]) for element in root.iter() if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_words_and_drawings_stand_out_in_both_themes(shown: str):
    for colours in themes(shown):
        for ground in ("paper", "card"):
            for name in (*ON_PAPER, "ask", "offer"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for name in DRAWN:
            assert contrast(colours[name], colours["card"]) >= 3.0, name


@pytest.mark.parametrize(
    ("day", "hours"), [pytest.param(date(2024, 3, 10), 23, marks=pytest.mark.slow), (date(2023, 11, 5), 25)]
)
def test_short_and_long_days_show_every_hour_once(solved_day, tmp_path: Path, day: date, hours: int):
    data = published(solved_day(day, prosumers=30, requests=()), tmp_path)
    found = tables(parse(write_report(data, day).read_text(encoding="utf-8")))
    labels = [row[0] for row in found["Energy by hour"]]
    assert len(labels) == len(found["Dispatch by hour, MW"]) == hours
    assert labels.count("01:00") == (2 if hours == 25 else 1)
    assert labels.count("02:00") == (0 if hours == 23 else 1)


def test_a_day_without_bids_says_so(solved_day, tmp_path: Path):
    from vpp_pipeline.settings import FleetSettings, Settings

    idle = solved_day(settings=Settings(fleet=FleetSettings(prosumers=3, business_sites=0)), requests=())
    assert (idle.tables["bids.final_bids"]["status"] == "no_bid").all()
    shown = write_report(published(idle, tmp_path), DAY).read_text(encoding="utf-8")
    found = tables(parse(shown))
    assert "No bids: no opportunity of the day covers the cost of its delivery." in shown
    assert len(found["Opportunities without a bid"]) == 72
    assert not any(caption.startswith("Bids of the day") for caption in found)


def test_of_a_large_fleet_limits_are_counted_in_a_sample(data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asking, "COUNTED_PROSUMERS", 50)
    facts = read_facts(data / "vpp.duckdb", DAY)
    assert facts.every == 4
    assert "Counted in a sample of one prosumer in 4." in page(facts)
    assert facts["why"] == []


HOSTILE = """</title></style><script>alert('1')</script>"&{{ 7 * 7 }}"""
PARSED = {"product", "pacific", "status"}  # written by code alone


def test_a_text_from_outside_is_shown_and_not_run(data: Path):
    """Ids, archetypes, reasons, node, source, names of files: every text of the warehouse and the settings."""
    facts = read_facts(data / "vpp.duckdb", DAY)
    results = {
        name: [
            {key: HOSTILE if isinstance(value, str) and key not in PARSED else value for key, value in row.items()}
            for row in rows
        ]
        for name, rows in facts.results.items()
    }
    hostile = page(Facts(facts.market_date, results, settings={"fleet": {"path": HOSTILE}}))
    assert "<script" not in hostile
    assert "&lt;script&gt;" in hostile
    root = parse(hostile)
    plain = of_source(facts, "OASIS")  # neither has the banner of synthetic prices
    assert len(list(root.iter())) == len(list(parse(page(replace(plain, settings={"fleet": {"path": "x"}}))).iter()))
    for part in ("td", "th", "desc", "figcaption", "text", "p", "dd", "code"):
        assert any("</style><script>" in words(element) for element in root.iter(part)), part


def test_templates_escape_everything_and_know_every_name():
    assert environment().autoescape is True
    with pytest.raises(UndefinedError):
        environment().from_string("{{ misspelt }}").render()
    names = environment().list_templates()
    assert {f"{name}.html.j2" for name in SECTIONS} < set(names)
    for name in names:
        source = (FOLDER / "templates" / name).read_text(encoding="utf-8")
        assert "safe" not in source, name
        assert "autoescape" not in source, name


DIALECT = re.compile(
    r"\b(least price|wish|wishes|nobody|what is stored|verdict|judged?|claims?|what it|who is|what stops|came|says)\b"
    r"|\d \$|\d %|[%$] ?\}\} ?[%$]",
    re.IGNORECASE,
)


def test_texts_of_the_report_and_of_pages_are_in_the_terms_of_the_field():
    texts = [(FOLDER / "templates" / name).read_text(encoding="utf-8") for name in environment().list_templates()]
    for page_ in (*PAGES.values(), PUBLICATION):
        texts += [page_.text, page_.empty, page_.line.title, *page_.columns]
    assert [found.group() for text in texts for found in DIALECT.finditer(text)] == []


@pytest.mark.parametrize("module", [svg, html, layout])
def test_examples_in_docstrings_hold(module: ModuleType):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_bids_below_zero_are_drawn(data: Path):
    facts = read_facts(data / "vpp.duckdb", DAY)
    bids = [{**bid, "bid_price_usd_per_mwh": -20.0} if bid["status"] == "bid" else bid for bid in facts["bids"]]
    hours = [{**hour, "energy": -35.5} for hour in facts["forecast"]]
    root = parse(page(replace(facts, results={**facts.results, "bids": bids, "forecast": hours})))
    heights = [float(bar.get("height", "0")) for bar in root.iter("rect")]
    assert min(heights) > 0.0
    assert "-$20.00" in words(root)


def test_a_day_that_is_not_published_is_refused(data: Path, tmp_path: Path):
    with pytest.raises(NoDataError, match=r"no bids of 2023-08-20 .*bids --date 2023-08-20"):
        write_report(data, date(2023, 8, 20))
    with pytest.raises(NoDataError, match="no warehouse yet"):
        write_report(tmp_path, DAY)
    assert list(tmp_path.iterdir()) == []


def test_requests_set_aside_are_listed_with_what_to_do(solved_day, tmp_path: Path):
    day = solved_day()
    aside = {"market_date": DAY, "file_row": 5, "column_name": "start", "value": "<b>noon", "problem": "not a moment"}
    row = aside | {"remedy": "Write it out", "file": "requests.csv", "row_json": "{}"}
    table = "market.request_quarantine"
    rows = pl.DataFrame([row], schema=day.tables[table].schema)
    shown = write_report(published(replace(day, tables=day.with_table(table, rows)), tmp_path), DAY).read_text("utf-8")
    listed = tables(parse(shown))["Requests set aside"]
    assert listed == [["row 5", "row 5 of requests.csv", "start", "<b>noon", "not a moment", "Write it out"]]
    assert "<b>noon" not in shown


def test_a_warehouse_of_an_earlier_version_is_reported(data: Path, shown: str, tmp_path: Path):
    """Whose tables and views an upgrade has not added or extended yet; the next publication does."""
    copy = shutil.copytree(data, tmp_path / "data")
    views = {"bids": "bids.bids_of_day", "resources": "bids.by_resource"}
    with duckdb.connect(str(copy / "vpp.duckdb")) as connection:
        for query, view in {**views, "why": "explain.bid"}.items():
            added = asking.ADDED_COLUMNS.get(query)
            columns = f"* exclude ({', '.join(added)})" if added else "*"
            connection.execute(f"create table {query} as select {columns} from {view}")
            connection.execute(f"create or replace view {view} as select * from {query}")
        connection.execute(f"drop view {asking.ADDED['storage']}")
        connection.execute(f"drop table {asking.ADDED['requests_aside']}")
    assert write_report(copy, DAY).read_text(encoding="utf-8") == shown


def test_every_query_of_something_new_is_known():
    assert asking.ADDED.keys() | asking.ADDED_COLUMNS.keys() <= asking.QUERIES.keys()


@pytest.mark.parametrize(
    ("asks", "offers"),
    [
        ([71.86, 63.17, 55.21, 46.23, 36.41], [9.81, 11.23, 12.60, 15.17, 19.83]),  # beside the axis of zero
        ([1.73, 1.53], [0.02, 0.0]),
        ([0.86, 0.76, 0.44], [0.97, 0.36, 0.53]),  # they cross
        ([99.9, 90.0, 80.0], [None, 10.0, 70.0]),  # up to the last tick
        ([5.0], [5.0]),
        ([40.0 + k for k in range(12)], [39.0 - k for k in range(12)]),
    ],
)
def test_values_of_price_concessions_keep_clear_of_the_axes(asks: list[float], offers: list[float | None]):
    rounds, deals = list(range(1, len(asks) + 1)), [1234] * len(asks)
    root = ET.fromstring(charts.rounds_chart("t", "d", "$/MW per hour", rounds, asks, offers, deals))
    texts = [(words(text), float(text.get("x")), float(text.get("y")), text) for text in root.iter("text")]
    values = [text for text in texts if text[0].startswith("$") and text[0] != "$/MW per hour"]
    assert len(values) >= 2
    lines = [
        float(re.findall(r"M[\d.]+ ([\d.]+)H", path.get("d"))[0])
        for path in root.iter("path")
        if path.get("class") == "axis"
    ]
    for _, x, y, _ in values:
        assert not any(y - 10.0 <= line <= y + 2.0 for line in lines)
        assert y - 10.0 >= 26.0
        assert y <= charts.LOW - 44.0
        assert x - 20.0 >= 30.0  # right of the numbers of the axis
    below = [(text, x) for text, x, y, node in texts if y == charts.LOW - 8.0 and node.get("text-anchor") == "middle"]
    for (one, x), (_, other) in pairwise(below):
        assert other - x >= 6.3 * len(one)  # they do not run into each other
