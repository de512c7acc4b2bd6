"""A short note on why a day's bids are what they are: by a model, from numbers that are verified, or by rule."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import Field

from vpp_pipeline.core.tables import Day
from vpp_pipeline.llm.adviser import Asks
from vpp_pipeline.llm.facts import Fact, Facts, facts_of, note_by_rule, told
from vpp_pipeline.llm.ports import LLMError, LLMRequest, StrictModel, schema_of
from vpp_pipeline.llm.providers import open_gateway
from vpp_pipeline.settings import LLMSettings

PURPOSE, PROMPT_VERSION = "brief", "1"

SYSTEM = """\
You write a short note for the traders of a virtual power plant: why the day's bids are what they are. The user message
is a JSON object of facts by name, each with its number, unit and meaning. Write at most eight plain sentences. Every
sentence states at least one of the numbers, in digits, with its unit, rounded or as it is, hours as 19:00; `facts`
names the facts whose numbers it states. No other number may occur, nor a number written as a word. Answer with JSON
only."""


class Sentence(StrictModel):
    """One sentence, and the facts whose numbers it states."""

    text: str = Field(min_length=10, max_length=300)
    facts: list[str] = Field(min_length=1, max_length=8)


class Note(StrictModel):
    """What a model answers."""

    sentences: list[Sentence] = Field(min_length=1, max_length=8)


@dataclass(frozen=True)
class Brief:
    """The note of a day, who wrote it, and why it is not the model's where that was refused."""

    market_date: date
    text: str
    author: str

    def markdown(self) -> str:
        """The file that is written."""
        return f"# Bids of {self.market_date:%A %d %B %Y}\n\n{self.text}\n\n*{self.author}*\n"


def brief_of(day: Day, llm: LLMSettings, gateway: Asks) -> Brief:
    """The model's note where every number in it is one of the day's; else the rule's, which says why."""
    market_date, facts = day["bids.final_bids"]["market_date"][0], facts_of(day)
    by_rule = note_by_rule(facts)
    if llm.mode == "off":
        return Brief(market_date, by_rule, "Made by rule from the day's tables.")
    try:
        note = gateway.ask(brief_question(facts, market_date, llm), Note)
    except LLMError as error:  # the rule's note stands in, and says so
        return Brief(market_date, by_rule, f"Made by rule from the day's tables: no answer ({error.kind}).")
    faults = [fault for sentence in note.sentences for fault in faults_of(sentence, facts)]
    if faults:
        return Brief(
            market_date, by_rule, f"Made by rule from the day's tables: a model's note was refused, {faults[0]}."
        )
    text = " ".join(sentence.text.strip() for sentence in note.sentences)
    return Brief(
        market_date, text, f"Worded by a language model ({llm.model}); its numbers were verified, its words were not."
    )


def write_brief(llm: LLMSettings, data_folder: Path, day: Day, file: Path | None = None) -> str:
    """Write the note of a published day to ``file`` (`briefs/DATE.md` of the data folder); the note and where it lies.

    Raises InputError where key or SDK are missing.
    """
    market_date = day["bids.final_bids"]["market_date"][0]
    with open_gateway(llm, data_folder, run_id="brief", market_date=market_date) as gateway:
        note = brief_of(day, llm, gateway).markdown()
    file = file or data_folder / "briefs" / f"{market_date}.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(note, encoding="utf-8")
    return f"{note}\n{file}"


def brief_question(facts: Facts, market_date: date, llm: LLMSettings) -> LLMRequest:
    """The facts by name; nothing about any one prosumer."""
    listed = {name: {"number": told(fact), "meaning": fact.words} for name, fact in facts.items()}
    return LLMRequest(
        purpose=PURPOSE,
        model=llm.model,
        system=SYSTEM,
        user=json.dumps(listed, separators=(",", ":")),
        json_schema=schema_of(Note),
        temperature=llm.temperature,
        max_output_tokens=llm.max_output_tokens,
        prompt_version=PROMPT_VERSION,
        subject=f"day_{market_date}",
    )


_NUMBER = re.compile(
    r"(?P<dollar>\$\s?)?(?<![\w.,:])(?P<sign>[-−–])?(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:(?P<clock>:00)|\s?(?P<unit>\$/MWh|USD/MWh|%|percent|MWh?|kWh?|GWh?|\$|dollars|USD|cents?|k\b|m\b|million|hours?))?"
    r"(?![\w]|[.,:]\d)"
)
_UNITS = {"percent": "%", "dollars": "$", "USD": "$", "USD/MWh": "$/MWh"}
_WORDS = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|"
    r"seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|dozens?|half|halves|thirds?|quarters?|twice|thrice|"
    r"double[ds]?|triple[ds]?|once|couple|single|both|none|nobody|several|pair)\b",
    re.IGNORECASE,
)
_LINK = re.compile(r"https?:|www\.|[<>\[\]{}`|*_#@\\]|\w\.(?:com|net|org|io)\b", re.IGNORECASE)


def faults_of(sentence: Sentence, facts: Facts) -> list[str]:
    """Why the sentence cannot be used: a number that is none of the facts it names, a number in words, a link.

    A number may have fewer digits than the fact, rounded to its own last digit, if that changes it by at most 5 %; a
    unit beside it must be the fact's.
    """
    text = sentence.text
    unknown = [name for name in sentence.facts if name not in facts]
    if unknown:
        return ["it names a fact that there is not"]
    if any(
        unicodedata.category(char)[0] == "C" or (ord(char) > 127 and unicodedata.numeric(char, None) is not None)
        for char in text
    ):
        return ["it holds hidden characters or odd digits"]
    if _LINK.search(text):
        return ["it holds a link or a mark"]
    if spelt := _WORDS.search(text):
        return [f"a number in words: {spelt[0]}"]
    named = [facts[name] for name in sentence.facts]
    found = list(_NUMBER.finditer(text))
    left = _NUMBER.sub("", text)
    if re.search(r"\d", left):
        return ["a number that cannot be read"]
    if not found:
        return ["a sentence without a number"]
    return [
        f"{each[0].strip()} is none of the numbers it names"
        for each in found
        if not any(_is(each, fact) for fact in named)
    ]


def _is(found: re.Match[str], fact: Fact) -> bool:
    digits = found["number"].replace(",", "")
    value = float(digits) * (-1.0 if found["sign"] else 1.0)
    unit = "hour" if found["clock"] else _UNITS.get(found["unit"] or "", found["unit"] or "")
    if found["dollar"]:
        unit = "$" if unit == "" else ""
        if unit == "":
            return False
    if fact.unit == "hour" and unit != "hour":
        return False
    if unit and unit != fact.unit:
        return False
    if not unit and fact.unit in ("%", "$", "$/MWh", "MW"):  # a bare number counts something
        return False
    decimals = len(digits.partition(".")[2])
    near = abs(value - fact.value) <= 0.5 * 10.0**-decimals + 1e-9
    return near and abs(value - fact.value) <= 0.05 * abs(fact.value) + 1e-9
