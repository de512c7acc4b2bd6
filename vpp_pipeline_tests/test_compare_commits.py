"""What the comparison of commits tells, on numbers made by hand; nothing is timed."""

from __future__ import annotations

import json
from typing import Any

import pytest

compare_commits: Any = pytest.importorskip("benchmarks.compare_commits", reason="the benchmarks are not packaged")
compare, conclude, Measured = compare_commits.compare, compare_commits.conclude, compare_commits.Measured

BEFORE = {"solve": 100.0, "negotiation": 50.0}


def measured(ratios: dict[str, float], python: str = "3.11.7") -> Any:
    return Measured("abc1234", "2026-11-30", python, ratios)


@pytest.mark.parametrize(
    ("ratio", "told"), [(116.0, "slower by 16%"), (114.0, ""), (86.0, ""), (84.0, "faster by 16%"), (100.0, "")]
)
def test_what_moved_by_more_than_15_percent_is_told(ratio: float, told: str) -> None:
    rows = compare({"solve": ratio, "negotiation": 50.0}, BEFORE)
    assert [row.moved for row in rows] == [told, ""]
    sentence = conclude(rows, measured({}), measured(BEFORE))
    assert sentence.startswith(f"{int(bool(told))} of 2 measurements moved by more than 15% since abc1234 (2026-11-30")
    assert (f"solve ({told})" in sentence) == bool(told)


def test_a_new_measurement_and_one_that_is_gone_are_told_and_not_counted() -> None:
    rows = compare({"solve": 100.0, "sweep": 80.0}, BEFORE)
    assert {row.name: row.moved for row in rows} == {"solve": "", "sweep": "new", "negotiation": "no longer measured"}
    assert conclude(rows, measured({}), measured(BEFORE)).startswith("0 of 1 measurements moved")


@pytest.mark.parametrize(("python", "is_told"), [("3.11.9", False), ("3.12.7", True)])
def test_a_baseline_of_another_python_is_told(python: str, is_told: bool) -> None:
    sentence = conclude(compare(BEFORE, BEFORE), measured(BEFORE), measured(BEFORE, python))
    assert ("this is Python 3.11.7, which may be the reason" in sentence) == is_told
    assert f"Python {python})" in sentence


def test_the_table_has_a_line_for_each() -> None:
    lines = compare_commits.table(compare({"solve": 123.0, "sweep": 80.0}, BEFORE), "abc1234").splitlines()
    assert [line.split() for line in lines] == [
        ["measurement", "now", "abc1234", "change"],
        ["solve", "123.0", "100.0", "+23%", "slower", "by", "23%"],
        ["sweep", "80.0", "-", "new"],
        ["negotiation", "-", "50.0", "no", "longer", "measured"],
    ]


def test_the_document_holds_the_same() -> None:
    now, before = measured({"solve": 125.0}), measured({"solve": 100.0})
    document = compare_commits.document(compare(now.ratios, before.ratios), now, before)
    assert json.loads(json.dumps(document))["measurements"] == [
        {"name": "solve", "now": 125.0, "before": 100.0, "change": 0.25, "moved": "slower by 25%"}
    ]


def test_the_stored_baseline_has_every_measurement() -> None:
    from benchmarks.commit_measures import MEASURES

    assert set(compare_commits.read_baseline().ratios) == set(MEASURES)
