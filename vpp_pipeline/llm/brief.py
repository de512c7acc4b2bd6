"""A short note on why a day's bids are what they are: by a model, from numbers that are verified, or by rule."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from vpp_pipeline.core.calendar import PACIFIC
from vpp_pipeline.core.display import percent, usd
from vpp_pipeline.core.tables import Day
from vpp_pipeline.llm.adviser import Asks
from vpp_pipeline.llm.interface import LLMError, LLMRequest, StrictModel, schema_of
from vpp_pipeline.llm.providers import open_gateway
from vpp_pipeline.settings import LLMSettings

PURPOSE, PROMPT_VERSION = "brief", "1"

SYSTEM = """\
You write a short note for the traders of a virtual power plant: why the day's bids are what they are. The user message
is a JSON object of facts by name, each with its number, unit and meaning. Write at most eight plain sentences. Every
sentence states at least one of the numbers, in digits, with its unit, rounded or as it is, hours as 19:00; `facts`
names the facts whose numbers it states. No other number may occur, nor a number written as a word. Answer with JSON
only."""
Unit = Literal["count", "MW", "$", "$/MWh", "%", "hour"]


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
    listed = {name: {"number": text_of(fact), "meaning": fact.words} for name, fact in facts.items()}
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
    r"(?:(?P<loss>[-−–])?(?P<dollar>\$\s?))?(?<![\w.,:])(?P<sign>[-−–])?(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:(?P<clock>:00)|\s?(?P<unit>\$/MWh|USD/MWh|/MWh|%|percent|MWh?|kWh?|GWh?|\$|dollars|USD|cents?|k\b|m\b|million|hours?))?"
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

    A number may have fewer digits than the fact, rounded to its own last digit, if that changes it by at most 5%; a
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
    value = float(digits) * (-1.0 if found["sign"] or found["loss"] else 1.0)
    unit = "hour" if found["clock"] else _UNITS.get(found["unit"] or "", found["unit"] or "")
    if found["dollar"]:
        if unit not in ("", "/MWh"):
            return False
        unit = f"${unit}"
    if fact.unit == "hour" and unit != "hour":
        return False
    if unit and unit != fact.unit:
        return False
    if not unit and fact.unit in ("%", "$", "$/MWh", "MW"):  # a bare number counts something
        return False
    decimals = len(digits.partition(".")[2])
    near = abs(value - fact.value) <= 0.5 * 10.0**-decimals + 1e-9
    return near and abs(value - fact.value) <= 0.05 * abs(fact.value) + 1e-9


@dataclass(frozen=True)
class Fact:
    """One number of the warehouse, rounded as a person would be told it."""

    value: float
    unit: Unit
    words: str


Facts = Mapping[str, Fact]


def facts_of(day: Day) -> dict[str, Fact]:
    """What the tables of a day's bids say in numbers; those of the best bid only where there is one."""
    bids, prices = day["bids.final_bids"], day["market.price_forecast"]
    trading = bids.filter(pl.col("status") == "bid")
    is_energy = pl.col("product") == "energy"
    energy, reserve = trading.filter(is_energy), trading.filter(~is_energy)
    refused = bids.filter(pl.col("status") != "bid")
    without_deals = day["negotiation.summary"].filter(pl.col("status") == "no_bid").select("opportunity_id")
    found_too_little = refused.join(without_deals, on="opportunity_id", how="semi").height
    dearest = prices.sort("energy_usd_per_mwh", descending=True).row(0, named=True)
    cheapest = prices.sort("energy_usd_per_mwh").row(0, named=True)
    profit, revenue = (float(trading[f"expected_{name}_usd"].sum()) for name in ("profit", "revenue"))
    facts = {
        "opportunities": Fact(bids.height, "count", "opportunities of the day"),
        "bids": Fact(trading.height, "count", "opportunities that are bid"),
        "no_bids": Fact(refused.height, "count", "opportunities that are not bid"),
        "no_deals": Fact(found_too_little, "count", "of those, for want of deals"),
        "worth_more_elsewhere": Fact(
            refused.height - found_too_little, "count", "of those, because the day earns more without them"
        ),
        "energy_bids": Fact(energy.height, "count", "bids of energy"),
        "energy_mw": Fact(_cleared(energy), "MW", "energy bid, each MW for its own hours"),
        "reserve_bids": Fact(reserve.height, "count", "bids of reserve"),
        "reserve_mw": Fact(_cleared(reserve), "MW", "reserve bid, each MW for its own hours"),
        "revenue": Fact(round(revenue, 2), "$", "expected revenue of all bids"),
        "payments": Fact(_sum(trading, "payments_usd"), "$", "payments to prosumers"),
        "profit": Fact(round(profit, 2), "$", "expected profit of all bids"),
        "prosumers": Fact(day["fleet.prosumers"].height, "count", "prosumers of the fleet"),
        "dispatched": Fact(
            day["dispatch.payments"]["prosumer_id"].n_unique(), "count", "prosumers that deliver in some bid"
        ),
        "gap": Fact(
            round(100.0 * float(day["dispatch.proof"]["gap_fraction"][0]), 2),
            "%",
            "most that any other schedule could earn above this, of its profit",
        ),
        "dearest_price": Fact(round(dearest["energy_usd_per_mwh"], 2), "$/MWh", "highest energy price expected"),
        "dearest_hour": Fact(_hour(dearest), "hour", "hour of that price, Pacific"),
        "cheapest_price": Fact(round(cheapest["energy_usd_per_mwh"], 2), "$/MWh", "lowest energy price expected"),
        "cheapest_hour": Fact(_hour(cheapest), "hour", "hour of that price, Pacific"),
    }
    if revenue > 0.0:
        facts["margin"] = Fact(round(100.0 * profit / revenue, 1), "%", "profit over revenue")
    if trading.height:
        best = trading.sort("expected_profit_usd", "bid_id", descending=True).row(0, named=True)
        facts |= {
            "best_hour": Fact(_hour(best), "hour", f"hour of the most profitable bid ({best['product']}), Pacific"),
            "best_mw": Fact(round(best["total_capacity_mw"], 2), "MW", "its size"),
            "best_price": Fact(round(best["forecast_price"], 2), "$/MWh", "its expected price"),
            "best_profit": Fact(round(best["expected_profit_usd"], 2), "$", "its expected profit"),
            "best_members": Fact(best["coalition_size"], "count", "prosumers that deliver it"),
        }
    return facts


def _sum(rows: pl.DataFrame, column: str) -> float:
    return round(float(rows[column].sum()), 2)


def _cleared(rows: pl.DataFrame) -> float:
    """MW that clear at the forecast: of storage resources, which offer the same MW twice, the plan."""
    column = "expected_mw" if "expected_mw" in rows.columns else "total_capacity_mw"
    return round(float(rows.select(pl.coalesce(column, "total_capacity_mw").clip(0.0).sum()).item()), 2)


def _hour(row: Mapping[str, Any]) -> float:
    """Pacific hour in which the row's block begins."""
    return float(row["start_utc"].astimezone(PACIFIC).hour)


def text_of(fact: Fact) -> str:
    """The number as a note writes it: `42`, `6.76 MW`, `$363.69`, `$104.43/MWh`, `35.6%`, `19:00`."""
    if fact.unit == "count":
        return f"{fact.value:.0f}"
    if fact.unit == "hour":
        return f"{fact.value:.0f}:00"
    if fact.unit == "%":
        return percent(fact.value / 100.0, 1 if fact.value >= 1 else 2)
    if fact.unit.startswith("$"):
        return usd(fact.value) + fact.unit.removeprefix("$")
    return f"{fact.value:.2f} {fact.unit}"


def note_by_rule(facts: Facts) -> str:
    """Why these bids, in sentences that a rule makes of the numbers."""
    say = {name: text_of(fact) for name, fact in facts.items()}
    sentences = [
        f"Of {say['opportunities']} opportunities {say['bids']} are bid: {say['energy_mw']} of energy in "
        f"{say['energy_bids']} and {say['reserve_mw']} of reserve in {say['reserve_bids']}, each MW for its own hours.",
        f"Energy is expected to be dearest at {say['dearest_hour']}, at {say['dearest_price']}, and cheapest at "
        f"{say['cheapest_hour']}, at {say['cheapest_price']}.",
    ]
    if "margin" in say:
        sentences.append(
            f"The bids expect {say['profit']} of profit on {say['revenue']} of revenue, a margin of {say['margin']}; "
            f"{say['payments']} go to {say['dispatched']} of {say['prosumers']} prosumers."
        )
    if "best_mw" in say:
        sentences.append(
            f"The most profitable bid begins at {say['best_hour']}: {say['best_mw']} at {say['best_price']}, delivered "
            f"by {say['best_members']} prosumers, earn {say['best_profit']}."
        )
    sentences.append(
        f"Not bid are {say['no_bids']}: {say['no_deals']} for want of deals, {say['worth_more_elsewhere']} because the "
        "day earns more without them."
    )
    sentences.append(f"At most {say['gap']} more could be earned by any other schedule.")
    return " ".join(sentences)
