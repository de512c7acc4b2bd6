"""OASIS as a source of prices: equal to what was published, kept, and read from the copy first."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.parquet_files import ParquetFolder
from vpp_pipeline.defs.price_intake import take_in_days
from vpp_pipeline.defs.resources import Prices
from vpp_pipeline.market.oasis.report import OasisDownError, OasisError
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline_tests.market.oasis.desk import prices_of
from vpp_pipeline_tests.market.oasis.published import (
    FIXTURES,
    NP15,
    PRICES,
    SP15,
    ZP26,
    from_sources,
    generated,
    real,
    recorded,
)
from vpp_pipeline_tests.market.oasis.server import HARMLESS, PASSING, LocalOasis, serving

DAY, SPRING, AUTUMN = date(2024, 7, 11), date(2024, 3, 10), date(2024, 11, 3)
needs_real_prices = pytest.mark.skipif(
    not PRICES.exists(), reason="the real prices are not part of the project (../shared/data)"
)
needs_fixtures = pytest.mark.skipif(
    not FIXTURES.exists(), reason="the recorded layout is not part of the project (../shared/data)"
)


def days_of(first: date, count: int) -> list[date]:
    return [first + timedelta(days=k) for k in range(count)]


def without_source(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop("source")


@needs_fixtures
@needs_real_prices
@pytest.mark.parametrize(
    ("day", "node"),
    [  # every day and every node in every run, the other pairs in `make test-all`
        pytest.param(day, node, marks=[] if d == n else pytest.mark.slow)
        for d, day in enumerate([SPRING, DAY, AUTUMN])
        for n, node in enumerate([SP15, NP15, ZP26])
    ],
)
def test_recorded_days_equal_the_public_file(day: date, node: str, tmp_path: Path):
    with serving(LocalOasis(recorded)) as oasis:
        rows = prices_of(oasis, tmp_path, node).day(day)
    assert without_source(rows).equals(without_source(open_source(PRICES, node).day(day)))


@needs_real_prices
@pytest.mark.parametrize("node", [SP15, pytest.param(NP15, marks=pytest.mark.slow)])
def test_a_real_month_with_every_tenth_answer_broken_is_whole_and_equal(node: str, tmp_path: Path):
    """November 2024, with the autumn change: one run of the asset's own code, faults of every kind."""
    days, dice = days_of(date(2024, 11, 1), 30), random.Random(20241103)
    faults = [*PASSING, *HARMLESS]
    broken = LocalOasis(real(), luck=lambda: dice.choice(faults) if dice.random() < 0.1 else None)
    with serving(broken) as oasis:
        taken = take_in_days(prices_of(oasis, tmp_path, node), Lake(tmp_path / "lake"), days)
    assert not taken.missing
    assert sum(one.fault is not None for one in oasis.asked) >= 2
    truth = open_source(PRICES, node)
    for day in days:
        held = Lake(tmp_path / "lake").day(day.isoformat()).read("market.prices")
        assert without_source(held).equals(without_source(truth.day(day)))
    assert oasis.reports.count("PRC_AS") <= 30 + len(oasis.asked) // 4
    assert oasis.reports.count("PRC_LMP") < 15  # a month is one question; days that came torn are asked for alone


@pytest.mark.slow
def test_a_generated_month_with_every_fault_is_whole_and_equal(tmp_path: Path):
    """The same where the real prices are not at hand: every third answer broken, spring and all faults in turn."""
    days, dice = days_of(date(2024, 3, 1), 31), random.Random(7)
    faults = [*PASSING, *HARMLESS]
    broken = LocalOasis(generated(), luck=lambda: dice.choice(faults) if dice.random() < 0.33 else None, slow_s=1.5)
    with serving(broken) as oasis:
        taken = take_in_days(prices_of(oasis, tmp_path, attempts=12, timeout_s=1.0), Lake(tmp_path / "lake"), days)
    assert not taken.missing
    assert all(without_source(taken.frames[day]).equals(without_source(Synthetic().day(day))) for day in days)


def test_reserve_prices_are_those_of_the_nested_regions(tmp_path: Path):
    """SP15 earns system and SP26 prices, NP15 and ZP26 system and NP26: 2 $ lie on AS_SP26, 3 $ on AS_NP26."""
    sources = {SP15: Synthetic(), NP15: Synthetic(), ZP26: Synthetic()}
    with serving(LocalOasis(from_sources(sources, split=2.0))) as oasis:
        spin = {node: prices_of(oasis, tmp_path, node).day(DAY)["spin_usd_per_mw_h"].to_numpy() for node in sources}
    published = Synthetic().day(DAY)["spin_usd_per_mw_h"].to_numpy()
    assert abs(spin[SP15] - published).max() < 1e-9
    assert abs(spin[NP15] - (published - 2.0 + 3.0)).max() < 1e-9
    assert (spin[ZP26] == spin[NP15]).all()
    assert oasis.reports.count("PRC_AS") == 1  # the copy of all regions serves every node


def test_a_node_whose_region_nobody_tells_is_refused(tmp_path: Path):
    with serving(LocalOasis(generated())) as oasis:
        with pytest.raises(InputError, match=r'POD_X_1.*region = "SP26"'):
            prices_of(oasis, tmp_path, "POD_X_1")
        assert prices_of(oasis, tmp_path, "POD_X_1", region="SP26").node == "POD_X_1"


def test_what_oasis_gave_is_kept_and_read_first(tmp_path: Path):
    with serving(LocalOasis(generated())) as oasis:
        first = prices_of(oasis, tmp_path).day(DAY)
    later = prices_of(oasis, tmp_path)  # the server is gone
    assert later.holds(DAY)
    assert later.day(DAY).equals(first)
    archive = ParquetFolder(tmp_path / "archive")
    kept = archive.read("oasis.prc_lmp", f"{SP15}|{DAY}")
    assert set(kept["LMP_TYPE"]) == {"LMP", "MCC"}  # every row of the node, not only what is used today
    assert archive.read("oasis.prc_as", DAY.isoformat()).height == 24 * 4 * 6
    assert archive.metadata("oasis.prc_as", DAY.isoformat())["url"] == oasis.url
    with pytest.raises(OasisDownError):
        later.day(DAY + timedelta(days=1))


def test_a_correction_replaces_the_copy(tmp_path: Path):
    with serving(LocalOasis(generated())) as oasis:
        source = prices_of(oasis, tmp_path)
        before = source.day(DAY)
        oasis.published = from_sources({SP15: Synthetic(seed=1)})
        assert source.day(DAY).equals(before)
        after = source.again(DAY)
    assert not after.equals(before)
    assert source.day(DAY).equals(after)


def test_a_damaged_copy_is_named_and_not_believed(tmp_path: Path):
    with serving(LocalOasis(generated())) as oasis:
        source = prices_of(oasis, tmp_path)
        source.day(DAY)
        archive = ParquetFolder(tmp_path / "archive")
        rows = archive.read("oasis.prc_as", DAY.isoformat())
        archive.write("oasis.prc_as", DAY.isoformat(), rows.filter(pl.col("ANC_REGION") != "AS_SP26"))
        with pytest.raises(OasisError, match=r"our copy of 2024-07-11 is not whole: 48 of 192.*--again"):
            source.day(DAY)
        archive.path("oasis.prc_as", DAY.isoformat()).write_bytes(b"torn")
        with pytest.raises(InputError, match=r"copy of what OASIS gave cannot be read.*Remove the file"):
            source.day(DAY)


def test_a_day_that_is_not_due_is_not_asked_for(tmp_path: Path):
    """Prices of 11 July are due at 13:00 Pacific on the 10th, 20:00Z."""
    with serving(LocalOasis(generated())) as oasis:
        early = prices_of(oasis, tmp_path, now=lambda: datetime(2024, 7, 10, 19, 59, tzinfo=UTC))
        with pytest.raises(NoDataError, match="publishes the prices of 2024-07-11 at 2024-07-10 20:00Z"):
            early.day(DAY)
        assert oasis.asked == []
        prices_of(oasis, tmp_path, now=lambda: datetime(2024, 7, 10, 20, 0, tzinfo=UTC)).day(DAY)


def test_whether_a_day_is_out_is_a_question_without_patience(tmp_path: Path):
    with serving(LocalOasis(generated())) as oasis:
        source = prices_of(oasis, tmp_path)
        assert source.is_published(DAY)
        oasis.faults[:] = ["1000", "missing hour", "missing hour"]
        assert not source.is_published(DAY)
        assert not source.is_published(DAY)
        oasis.faults[:] = ["500", ""]
        assert source.is_published(DAY)  # one failure is not yet an outage
        oasis.faults[:] = ["500", "500"]
        with pytest.raises(OasisDownError):
            source.is_published(DAY)
    assert len(oasis.asked) == 8


def test_months_are_asked_for_at_once_and_torn_days_alone(tmp_path: Path):
    with serving(LocalOasis(generated())) as oasis:
        source, days = prices_of(oasis, tmp_path), days_of(date(2024, 10, 20), 31)
        assert source.prefetch(days) == 30  # the day of 25 hours makes 31 days an hour too long
        assert oasis.reports == ["PRC_LMP"]
        assert source.prefetch(days) == 0
        oasis.faults[:] = ["missing hour"]
        assert prices_of(oasis, tmp_path / "other").prefetch(days[:10]) == 9


def test_neither_definitions_nor_commands_load_the_http_client():
    script = "import sys, vpp_pipeline.definitions, vpp_pipeline.cli.main; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_settings_are_those_of_the_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "prices.toml"
    file.write_text('kind = "oasis"\nnode = "TH_NP15_GEN-APND"\n[oasis]\narchive = "kept"\ninterval_s = 6\n')
    source = Prices(defaults=str(file)).open()
    assert (source.name, source.node) == ("oasis", NP15)
    settings, _ = Prices(defaults=str(file)).chosen()
    assert (settings.archive, settings.interval_s) == (tmp_path / "kept", 6.0)
    monkeypatch.setenv("VPP_OASIS_URL", "http://127.0.0.1:8080/oasisapi")
    assert Prices(defaults=str(file)).chosen()[0].url == "http://127.0.0.1:8080/oasisapi"
    assert Prices(defaults=str(file), node=SP15).open().node == SP15
    assert Prices(defaults=str(file), kind="synthetic").open().name == "synthetic"
    monkeypatch.setenv("VPP_OASIS_URL", "oasis.example")
    with pytest.raises(InputError, match=r"VPP_OASIS_URL.*oasis\.url.*oasis\.example"):
        Prices(defaults=str(file)).open()
    monkeypatch.delenv("VPP_OASIS_URL")
    file.write_text('kind = "oasis"\n[oasis]\npatience = 3\n')
    with pytest.raises(InputError, match=r"oasis\.patience"):
        Prices(defaults=str(file)).open()
    file.write_text('kind = "oasys"\n')
    with pytest.raises(InputError, match="oasys"):
        Prices(defaults=str(file)).open()
