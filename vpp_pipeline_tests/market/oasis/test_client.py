"""Questions to OASIS over real HTTP: what is asked, what every fault leads to, and how politely."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.market.oasis.client import OasisClient, lmp_question, reserves_question, windows
from vpp_pipeline.market.oasis.report import OasisDownError, OasisError, OasisIncompleteError
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline_tests.market.oasis.desk import prices_of, quick
from vpp_pipeline_tests.market.oasis.published import SP15, generated
from vpp_pipeline_tests.market.oasis.server import HARMLESS, PASSING, LocalOasis, serving

DAY, SPRING, AUTUMN = date(2024, 7, 11), date(2024, 3, 10), date(2024, 11, 3)
SLOW = {"slow", "trickle"}


@pytest.fixture
def oasis() -> Iterator[LocalOasis]:
    with serving(LocalOasis(generated())) as server:
        yield server


def same(rows: pl.DataFrame, day: date) -> bool:
    """Whether the rows are those that the server published."""
    expected = Synthetic().day(day).drop("source")
    return rows.drop("source").equals(expected)


def test_the_question_is_caisos_own(oasis: LocalOasis, tmp_path: Path):
    prices_of(oasis, tmp_path).day(DAY)
    lmp, reserves = (one.parameters for one in oasis.asked)
    common = {"version": "12", "resultformat": "6", "market_run_id": "DAM"}
    window = {"startdatetime": "20240711T07:00-0000", "enddatetime": "20240712T07:00-0000"}
    assert lmp == {"queryname": "PRC_LMP", "node": SP15, **common, **window}
    assert reserves == {"queryname": "PRC_AS", "anc_type": "ALL", "anc_region": "ALL", **common, **window}


@pytest.mark.parametrize(
    ("day", "begin", "end"),
    [(SPRING, "20240310T08:00", "20240311T07:00"), (AUTUMN, "20241103T07:00", "20241104T08:00")],
)
def test_windows_run_from_local_midnight_to_local_midnight(day: date, begin: str, end: str):
    asked = reserves_question(day).parameters()
    assert (asked["startdatetime"], asked["enddatetime"]) == (f"{begin}-0000", f"{end}-0000")


@pytest.mark.parametrize("day", [DAY, SPRING, AUTUMN])
def test_a_day_is_what_was_published(day: date, oasis: LocalOasis, tmp_path: Path):
    rows = prices_of(oasis, tmp_path).day(day)
    assert same(rows, day)
    assert rows.height == {SPRING: 23, AUTUMN: 25}.get(day, 24)
    assert rows["source"].unique().to_list() == ["oasis"]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("day", [SPRING, pytest.param(AUTUMN, marks=pytest.mark.slow)])
def test_a_passing_fault_is_asked_away(fault: str, day: date, oasis: LocalOasis, tmp_path: Path):
    """On the first report and on the second; the day is whole, and only what failed was asked again."""
    oasis.faults[:] = [fault, "", fault, ""]
    oasis.published(day)  # made beforehand, so that no answer but the slow ones is slow
    assert same(prices_of(oasis, tmp_path, timeout_s=0.7 if fault in SLOW else 20.0).day(day), day)
    assert oasis.reports == ["PRC_LMP", "PRC_LMP", "PRC_AS", "PRC_AS"]


@pytest.mark.parametrize("oddity", HARMLESS)
def test_an_oddity_changes_nothing(oddity: str, oasis: LocalOasis, tmp_path: Path):
    oasis.faults[:] = [oddity, oddity]
    assert same(prices_of(oasis, tmp_path).day(DAY), DAY)
    assert len(oasis.asked) == 2


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_stays_ends_in_words_and_keeps_nothing(fault: str, oasis: LocalOasis, tmp_path: Path):
    oasis.luck = lambda: fault
    source = prices_of(oasis, tmp_path, attempts=2, timeout_s=0.3 if fault in SLOW else 20.0)
    kind = OasisIncompleteError if fault in {"missing hour", "missing region", "empty price", "contradiction"} else None
    with pytest.raises(kind or OasisDownError, match=r"PRC_LMP .* of 2024-07-11 in 2 attempts.*[Tt]ry again later"):
        source.day(DAY)
    assert len(oasis.asked) == 2
    assert not source.holds(DAY)
    assert not (tmp_path / "archive").exists()


def test_a_sensors_tick_does_not_wait_for_minutes(oasis: LocalOasis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    oasis.retry_after = "200"
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for client in (OasisClient(quick(oasis, tmp_path)), OasisClient(quick(oasis, tmp_path)).hurried()):
        oasis.faults[:] = ["503"]
        client.ask(lmp_question(DAY, DAY, SP15), lambda rows: rows)
    assert [seconds for seconds in slept if seconds > 1.0] == [200.0, 15.0]


def test_after_oasis_was_down_other_days_are_not_asked_for_one_by_one(oasis: LocalOasis, tmp_path: Path):
    oasis.luck = lambda: "500"
    source = prices_of(oasis, tmp_path, attempts=2)
    for day in (DAY, SPRING, AUTUMN):
        with pytest.raises(OasisDownError, match="HTTP 500"):
            source.day(day)
    assert len(oasis.asked) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing hour", r"1 of 24 prices are missing, first LMP of TH_SP15_GEN-APND, hour ending \d+"),
        ("empty price", "1 of 24 prices are missing, first LMP of TH_SP15_GEN-APND, hour ending 1 "),
        ("contradiction", r"hour ending 1 of 2024-07-11 has two prices, "),
    ],
)
def test_a_gap_is_named(fault: str, words: str, oasis: LocalOasis, tmp_path: Path):
    oasis.faults[:] = [fault]
    with pytest.raises(OasisIncompleteError, match=words):
        prices_of(oasis, tmp_path, attempts=1).day(DAY)


def test_a_reserve_region_that_is_missing_is_never_a_price_of_nothing(oasis: LocalOasis, tmp_path: Path):
    oasis.faults[:] = ["", "missing region"]
    with pytest.raises(OasisIncompleteError, match="48 of 192 prices are missing, first SR in AS_SP26, hour ending 1"):
        prices_of(oasis, tmp_path, attempts=1).day(DAY)


def test_no_data_yet_is_no_error_of_ours_and_is_not_repeated(oasis: LocalOasis, tmp_path: Path):
    oasis.published = lambda day: None
    with pytest.raises(NoDataError, match=r"OASIS has no data for PRC_LMP .*13:00 Pacific") as caught:
        prices_of(oasis, tmp_path).day(DAY)
    assert not isinstance(caught.value, OasisDownError)
    assert len(oasis.asked) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [("1004", "31 days only.*fewer days"), ("1001", "Invalid parameter"), ("moved", r"HTTP 302 .*elsewhere.*address")],
)
def test_a_refusal_is_clear_and_not_repeated(fault: str, words: str, oasis: LocalOasis, tmp_path: Path):
    oasis.faults[:] = [fault]
    with pytest.raises(OasisError, match=words):
        prices_of(oasis, tmp_path).day(DAY)
    assert len(oasis.asked) == 1


def test_a_wrong_address_is_named(oasis: LocalOasis, tmp_path: Path):
    wrong = oasis.url.replace("oasisapi", "nowhere")
    with pytest.raises(OasisError, match=r"HTTP 404 .*nowhere.*VPP_OASIS_URL"):
        prices_of(oasis, tmp_path, url=wrong).day(DAY)
    with pytest.raises(OasisDownError, match="ConnectError"):
        prices_of(oasis, tmp_path, url="http://127.0.0.1:9/oasisapi", attempts=2).day(DAY)


def test_questions_keep_caisos_limits(oasis: LocalOasis, tmp_path: Path):
    assert windows([date(2024, 3, day) for day in range(1, 32)]) == [(date(2024, 3, 1), date(2024, 3, 31))]
    autumn = [date(2024, 10, 20 + day) if day < 12 else date(2024, 11, day - 11) for day in range(32)]
    assert windows(autumn) == [(autumn[0], autumn[29]), (autumn[30], autumn[31])]  # 31 days are an hour too many
    assert windows([DAY, SPRING]) == [(DAY, DAY), (SPRING, SPRING)]
    client = OasisClient(quick(oasis, tmp_path))
    longest = windows(autumn)[0]
    assert client.ask(lmp_question(*longest, SP15), lambda rows: rows["OPR_DT"].n_unique()) == 30
    with pytest.raises(InputError, match="745 hours"):
        lmp_question(autumn[0], autumn[30], SP15)
    with pytest.raises(InputError, match="11 nodes"):
        lmp_question(DAY, DAY, *(f"NODE_{k}" for k in range(11)))


def test_caisos_own_address_is_never_asked_faster_than_it_allows():
    with pytest.raises(ValueError, match="5 or more"):
        OasisSettings(interval_s=1.0)


ASK_THREE_TIMES = """
import sys
from datetime import date
from pathlib import Path
from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.market.oasis.client import OasisClient, reserves_question

client = OasisClient(OasisSettings(url=sys.argv[1], gate=Path(sys.argv[2]), interval_s=0.15, attempts=1))
for _ in range(3):
    client.ask(reserves_question(date(2024, 7, 11)), lambda rows: rows)
"""


def test_all_processes_of_a_machine_share_one_pace(oasis: LocalOasis, tmp_path: Path):
    """Two processes, three questions each; the server itself refuses whatever comes too soon."""
    oasis.least_pause_s = 0.14
    script = [sys.executable, "-c", ASK_THREE_TIMES, oasis.url, str(tmp_path / "gate")]
    workers = [subprocess.Popen(script) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    moments = [one.at for one in oasis.asked]
    assert len(moments) == 6
    assert min(later - sooner for sooner, later in pairwise(moments)) >= 0.15
    assert all(one.fault is None for one in oasis.asked)
