"""Texts that people read use the field's words, those of docs/glossary.md, and write $363.69 and 62.7%.

They are all string literals of the package (messages, errors, descriptions, docstrings), the views of the warehouse,
the templates of the report, and the pages of the docs without code spans.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from vpp_pipeline.core.provenance import PACKAGE

PROJECT = PACKAGE.parent

#: what to write -> what not to
WORDS = {
    "$363.69": r"[\d}] \$(?![\w{])",
    "62.7%": r"[\d}] %(?!\w)",
    "reservation price": r"\bleast prices?\b",
    "state of charge": r"\bwhat (is|was) (stored|owed)\b|\bleft in (the|its|their) stores?\b",
    "award": r"\bwhat (was|is) sold\b",
    "clearing price": r"\b(what|prices?|prices? that) cleared\b",
    "imbalance": r"\bmissing energy\b",
    "owner preference": r"\bwish(es|ed)?\b",
    "available prosumers": r"\b(who|those|everyone|everybody|somebody|prosumer) (is|are|was|were|who are) there\b"
    r"|\bwho(ever)? came\b|\beveryone there\b",
    "no-bid, infeasible, or deadlock": r"\b(nobody|nothing moves)\b",
    "dual bound": r"\bpromis(e|es|ed|ing)\b",
    "partial pricing": r"\b(taking turns|takes? turns|in turns?|its turn|their turn)\b",
    "continue, warm start": r"\bgo(es)? on\b",
    "comparison": r"\blikeness(es)?\b",
    "validate": r"\bdoors?\b",
    "check": r"\b(claims?|claimed)\b",
    "check result": r"\bverdicts?\b",
    "validate, test": r"\bjudg(e|es|ed|ing|ments?)\b",
}
OWNERS_NOTE = "a note as its owner wrote it; generated notes decide the fleet that a seed gives"
HASHED = "a prompt: stored answers are found by its hash"
#: text -> why it stays
EXEMPT_TEXTS = {
    "keep 40 % for outages": OWNERS_NOTE,
    "always leave 30 % in the battery": OWNERS_NOTE,
    "keep 25 % in the car": OWNERS_NOTE,
    "at least 80 %\nof what is required": HASHED,
    "least price in $ per kWh": HASHED,
    "both|none|nobody|several": "numbers in words that a brief may not hold",
    "nights no nobody none": "words that are no names in an owner's note",
}
EXAMPLES_OF_NOTES = "docs/notes.md"  # its tables quote owners, who write 40 % and 80 $/MWh as they like


def texts_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every string literal; an f-string's values are written ``{}``."""
    parts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(part) for child in node.values for part in ast.walk(child)}
            yield node.lineno, "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def prose_of(page: str) -> Iterator[tuple[int, str]]:
    """Lines of a page of the docs without code, formulas, and what the glossary calls former words."""
    for aside in (r"(?ms)^ *```.*?^ *```", r"(?s)\$\$.*?\$\$", r"`[^`]*`", r"\bFormerly\b[^.]*\."):
        page = re.sub(aside, lambda found: "\n" * found.group().count("\n"), page)
    yield from enumerate(page.splitlines(), 1)


def read() -> Iterator[tuple[str, str]]:
    """Place and text of all that is read."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, text in texts_of(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(PROJECT)}:{line}", text
    for file in [*sorted((PACKAGE / "warehouse" / "sql").glob("*.sql")), *sorted(PACKAGE.rglob("*.j2"))]:
        for line, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{file.relative_to(PROJECT)}:{line}", text
    for file in [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]:
        page = str(file.relative_to(PROJECT))
        for line, text in prose_of(file.read_text(encoding="utf-8")):
            if page != EXAMPLES_OF_NOTES or not text.startswith("|"):
                yield f"{page}:{line}", text


def without_exempt(text: str) -> str:
    """The text without those that stay."""
    for exempt in EXEMPT_TEXTS:
        text = text.replace(exempt, "")
    return text


@cache  # for every word
def texts() -> list[tuple[str, str]]:
    """Place and text of all that is judged."""
    return [(place, without_exempt(text)) for place, text in read()]


def found_in(text: str, pattern: str) -> list[str]:
    """What of ``text`` the pattern forbids."""
    return [match.group() for match in re.finditer(pattern, text, re.IGNORECASE)]


@pytest.mark.parametrize(("word", "pattern"), WORDS.items(), ids=list(WORDS))
def test_people_read_the_words_of_the_field(word: str, pattern: str):
    wrong = [f"{place}: {match}" for place, text in texts() for match in found_in(text, pattern)]
    assert not wrong, f"write {word}; not in\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ('f"net {usd:.2f} $ of the day"', "$363.69"),
        ('"{profit_usd:.2f} $, gap {gap:.1%}".format()', "$363.69"),
        ('f"{100 * share:.1f} % of R"', "62.7%"),
        ('"""The 80 % rule."""', "62.7%"),
        ('"ask below the least price"', "reservation price"),
        ('"profit at the prices that cleared"', "clearing price"),
        ('"satisfaction; 0 where a wish was broken"', "owner preference"),
        ('"State what is stored"', "state of charge"),
    ],
)
def test_a_text_in_other_words_is_found(source: str, word: str):
    assert [text for _, text in texts_of(source) if found_in(text, WORDS[word])]


@pytest.mark.parametrize("text", ["$363.69", "$48.39/kW-yr", "62.7%", "price ($/MWh)", "the right door_name", "{}%"])
def test_texts_of_the_field_pass(text: str):
    assert [word for word, pattern in WORDS.items() if found_in(text, pattern)] == []
