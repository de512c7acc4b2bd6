"""What Dagster does while OASIS is silent, late, down or back again; time is given, nobody sleeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from vpp_pipeline.core.calendar import PACIFIC, history_dates
from vpp_pipeline.definitions import correct_prices_daily, defs
from vpp_pipeline.defs import price_intake
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.resources import Prices, Storage
from vpp_pipeline.defs.sensors import LOCK_TAG, can_give, has, newest_due, wait
from vpp_pipeline.market.synthetic_prices import Synthetic
from vpp_pipeline.warehouse.publish import publish
from vpp_pipeline_tests.defs.desk import TradingDesk, evaluations, failures, metadata_of, new_desk
from vpp_pipeline_tests.market.oasis.desk import prices_of
from vpp_pipeline_tests.market.oasis.published import Published, Rows, generated
from vpp_pipeline_tests.market.oasis.server import LocalOasis, serving
from vpp_pipeline_tests.warehouse.rows import rows

DAY = date(2024, 7, 11)  # due at 13:00 Pacific on the 10th
OPEN = datetime(2024, 7, 10, 12, 59, tzinfo=PACIFIC)


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2024, 7, 10, hour, minute, tzinfo=PACIFIC)


@pytest.fixture
def oasis() -> Iterator[LocalOasis]:
    with serving(LocalOasis(generated())) as server:
        yield server


@pytest.fixture
def prices(oasis: LocalOasis, tmp_path: Path) -> Prices:
    """Prices as a user configures them: one file beside the data."""
    file = tmp_path / "prices.toml"
    pace = "interval_s = 0.002\nbackoff_s = 0.002\nattempts = 2\ntimeout_s = 20"
    file.write_text(f'kind = "oasis"\n[oasis]\nurl = "{oasis.url}"\narchive = "archive"\ngate = "{tmp_path}"\n{pace}\n')
    return Prices(defaults=str(file))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(data_folder=str(tmp_path))


@pytest.fixture
def desk(tmp_path: Path, prices: Prices) -> TradingDesk:
    return new_desk(tmp_path, prices={"defaults": prices.defaults})


def fill(storage: Storage, days: list[date]) -> None:
    """The lake has these days from OASIS."""
    for day in days:
        frame = Synthetic().day(day).with_columns(source=pl.lit("oasis"))
        storage.lake.write("market.prices", day.isoformat(), frame)


def asked_for(result: dg.SensorResult) -> list[tuple[str | None, str | None]]:
    return [(request.job_name, request.partition_key) for request in result.run_requests or []]


def answer(result: dg.SensorResult) -> tuple[bool, str] | None:
    """Whether the check passes, and its words, where the tick reports it."""
    events = [event for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    return (events[0].passed, str(events[0].description)) if events else None


def test_tomorrow_is_due_from_one_oclock_on_with_every_clock():
    assert newest_due(OPEN) == date(2024, 7, 10)
    assert newest_due(at(13)) == DAY
    assert newest_due(datetime(2024, 3, 9, 21, tzinfo=UTC)) == date(2024, 3, 10)  # 13:00 PST
    assert newest_due(datetime(2024, 3, 10, 20, tzinfo=UTC)) == date(2024, 3, 11)  # 13:00 PDT


def test_a_day_as_it_should_be(oasis: LocalOasis, prices: Prices, storage: Storage):
    fill(storage, [DAY - timedelta(days=back) for back in range(1, 9)])
    before = wait(prices, storage, OPEN, None)
    assert asked_for(before) == []
    assert oasis.asked == []  # nothing to ask before 13:00
    oasis.faults[:] = ["1000"]
    early = wait(prices, storage, at(13, 5), before.cursor)
    assert (asked_for(early), answer(early)) == (
        [],
        (True, "the prices of 2024-07-11 are not out yet, 5 minutes after they were due"),
    )
    there = wait(prices, storage, at(13, 10), early.cursor)
    assert asked_for(there) == [("ingest_market", "2024-07-11")]
    fill(storage, [DAY])
    after = wait(prices, storage, at(13, 15), there.cursor)
    assert (asked_for(after), answer(after)) == ([], (True, "the prices of 2024-07-11 are in"))
    assert len(oasis.asked) == 2


def test_a_late_oasis_is_told_once_and_the_day_goes_on(oasis: LocalOasis, prices: Prices, storage: Storage):
    fill(storage, history_dates(DAY))
    oasis.luck = lambda: "1000"
    late = wait(prices, storage, at(14, 0), "2024-07-11 awaited")
    assert asked_for(late) == []
    passed, words = answer(late) or (True, "")
    assert not passed
    assert "OASIS is late: no whole prices of 2024-07-11 60 minutes after they were due" in words
    again = wait(prices, storage, at(14, 5), late.cursor)
    assert answer(again) is None  # the same state is not said every five minutes
    assert "OASIS is late" in str(again.skip_reason)


@pytest.mark.parametrize(("fault", "word"), [("500", "does not answer.*HTTP 500"), ("1004", "refuses.*31 days")])
def test_a_broken_oasis_is_told_with_its_own_words(
    fault: str, word: str, oasis: LocalOasis, prices: Prices, storage: Storage
):
    oasis.luck = lambda: fault
    broken = wait(prices, storage, at(13, 5), None)
    assert asked_for(broken) == []  # not for the days of the week before either
    passed, words = answer(broken) or (True, "")
    assert not passed
    assert re.search(word, words)
    oasis.luck = lambda: None
    fill(storage, history_dates(DAY))
    back = wait(prices, storage, at(15, 5), broken.cursor)
    assert asked_for(back) == [("ingest_market", "2024-07-11")]
    assert (answer(back) or (False, ""))[0]


def test_prices_that_come_after_settlement_was_due_are_settled_at_once(prices: Prices, storage: Storage):
    fill(storage, history_dates(DAY))
    storage.lake.write("bids.final_bids", DAY.isoformat(), rows("bids.final_bids", DAY))
    publish(storage.lake, storage.warehouse, DAY)
    assert asked_for(wait(prices, storage, at(13, 55), None)) == [("ingest_market", "2024-07-11")]
    assert asked_for(wait(prices, storage, at(16, 0), None)) == [("settle_day", "2024-07-11")]


def test_days_that_were_missed_are_caught_up(prices: Prices, storage: Storage):
    fill(storage, [*history_dates(DAY)[:4], DAY])
    tick = wait(prices, storage, at(15), None)
    assert asked_for(tick) == [("ingest_market", f"2024-07-{day:02d}") for day in (8, 9, 10)]
    keys = {request.run_key for request in tick.run_requests or []}
    assert keys == {request.run_key for request in wait(prices, storage, at(18), None).run_requests or []}


def test_other_sources_are_not_waited_for(storage: Storage, tmp_path: Path):
    tick = wait(Prices(defaults=str(tmp_path / "none.toml")), storage, at(14), None)
    assert (asked_for(tick), list(tick.asset_events)) == ([], [])


def test_schedules_never_ask_oasis(oasis: LocalOasis, tmp_path: Path):
    source = prices_of(oasis, tmp_path, now=lambda: OPEN)
    assert not has(source, date(2024, 7, 10))
    assert can_give(source, date(2024, 7, 10))
    assert not can_give(source, DAY)
    assert oasis.asked == []


def test_a_run_takes_the_day_in_and_its_checks_say_so(oasis: LocalOasis, desk: TradingDesk):
    begun = datetime.now(UTC)
    result = desk.run("ingest_market", DAY.isoformat())
    assert result.success
    assert metadata_of(result, "market.prices")["source"] == "oasis"
    assert evaluations(result)["prices_are_complete_and_ordered"].passed
    # by the real clock: of the newest day due, which is not in; in the half hour after 13:00 Pacific it is awaited
    found = evaluations(result)["prices_are_in_when_they_should_be"].metadata["market_date"].value
    assert found in {newest_due(moment).isoformat() for moment in (begun, datetime.now(UTC))}
    assert desk.lake.day(DAY.isoformat()).read("market.prices").height == 24
    assert oasis.reports == ["PRC_LMP", "PRC_AS"]


def test_a_run_waits_where_oasis_is_down_and_succeeds_when_it_is_back(
    oasis: LocalOasis, desk: TradingDesk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(price_intake, "RETRY_PAUSE_S", 0.01)
    oasis.faults[:] = ["500", "503", "drop"]
    result = desk.run("ingest_market", DAY.isoformat())
    assert result.success
    retried = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert len(retried) == 1
    oasis.luck = lambda: "500"
    failed = desk.run("ingest_market", "2024-07-12")
    assert "OASIS gave no answer" in failures(failed)["market__prices"]
    assert not desk.lake.day("2024-07-12").exists("market.prices")


def test_a_run_of_the_command_line_says_at_once_that_oasis_is_down(oasis: LocalOasis, desk: TradingDesk):
    oasis.luck = lambda: "500"
    result = desk.run("ingest_market", DAY.isoformat(), tags={LOCK_TAG: "here"})
    assert "OASIS gave no answer" in failures(result)["market__prices"]
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


PRICES_COMPLETE = "prices_are_complete_and_ordered"


def range_run(desk: TradingDesk, first: str, last: str) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return (
        desk.definitions()
        .resolve_job_def("ingest_market")
        .execute_in_process(run_config=desk.config(), instance=desk.instance, raise_on_error=False, tags=tags)
    )


def versions(desk: TradingDesk, days: list[str]) -> list[str]:
    found = [desk.instance.get_latest_data_version_record(key_of("market.prices"), partition_key=day) for day in days]
    return [str((record.event_log_entry.tags or {})["dagster/data_version"]) for record in found if record]


def test_a_range_is_one_run_with_each_days_own_data_version(oasis: LocalOasis, desk: TradingDesk):
    days = [f"2024-03-{day:02d}" for day in range(8, 13)]  # with the day of 23 hours
    result = range_run(desk, days[0], days[-1])
    assert result.success
    complete = [one for one in result.get_asset_check_evaluations() if one.check_name == PRICES_COMPLETE]
    assert {one.partition: one.passed for one in complete if one.partition} == dict.fromkeys(days, True)
    assert all(one.passed for one in complete)
    assert oasis.reports == ["PRC_LMP", *["PRC_AS"] * 5]
    together = versions(desk, days)
    assert len(set(together)) == 5
    assert desk.run("ingest_market", days[2]).success  # alone it is the same version
    assert versions(desk, days) == together


def test_a_range_keeps_what_came_and_names_what_did_not(oasis: LocalOasis, desk: TradingDesk):
    everything = oasis.published
    oasis.published = lambda day: None if day == date(2024, 3, 10) else everything(day)
    result = range_run(desk, "2024-03-09", "2024-03-11")
    assert "OASIS has no data for PRC_LMP (TH_SP15_GEN-APND) of 2024-03-10" in failures(result)["market__prices"]
    assert desk.lake.days_of("market.prices") == ["2024-03-09", "2024-03-11"]
    assert len(versions(desk, ["2024-03-09", "2024-03-11"])) == 2


@pytest.mark.parametrize(
    ("last", "table"),
    [
        ("market.opportunities", "market.opportunities"),
        pytest.param("warehouse.published", "bids.final_bids", marks=pytest.mark.slow),  # and from these the bids
    ],
)
def test_bids_are_made_from_what_is_there_and_a_check_says_that_a_day_is_missing(
    last: str, table: str, oasis: LocalOasis, desk: TradingDesk
):
    """OASIS is down at 08:00 and gave nothing of yesterday: six days of the week are in our copy."""
    week = [day.isoformat() for day in history_dates(DAY)]
    assert range_run(desk, week[0], week[-2]).success
    oasis.luck = lambda: "500"
    result = desk.make(last, day=DAY.isoformat())
    assert result.success
    check = evaluations(result)["the_forecast_rests_on_the_whole_week"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "6 of 7 days before" in str(check.description)
    rows = desk.day(DAY.isoformat())[table]
    assert rows.height == 72 * rows["resource_id"].n_unique()


def test_prices_are_watched_for_freshness():
    spec = defs.resolve_asset_graph().get(key_of("market.prices"))
    policy = spec.freshness_policy
    assert policy is not None
    assert policy.deadline_cron == "30 14 * * *"
    assert policy.timezone == "America/Los_Angeles"


def test_the_sensor_is_on_and_ticks_with_its_own_resources(oasis: LocalOasis, prices: Prices, storage: Storage):
    """As the daemon does it, by the real clock: the newest day and the week before it are missing."""
    sensor = defs.get_sensor_def("wait_for_prices")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 300
    context = dg.build_sensor_context(
        resources={"prices_source": prices, "storage": storage},
        definitions=defs,
        instance=dg.DagsterInstance.ephemeral(),
    )
    tick = sensor.evaluate_tick(context)
    newest = newest_due(datetime.now(UTC))
    wanted = [newest, *history_dates(newest)]
    assert [request.partition_key for request in tick.run_requests or []] == [day.isoformat() for day in wanted]
    assert {request.job_name for request in tick.run_requests or []} == {"ingest_market"}
    assert tick.cursor == f"{newest} out"
    assert oasis.reports == ["PRC_LMP"]


def other_prices(published: Published) -> Published:
    """The same but for the LMP of the first hour, 1 $/MWh higher, and a reserve price of the second, 2 $ higher."""

    def corrected(day: date) -> tuple[Rows, Rows] | None:
        found = published(day)
        assert found is not None
        lmp, reserves = ([list(row) for row in rows] for rows in found)
        hours = sorted({row[0] for row in lmp})
        energy = next(row for row in lmp if row[0] == hours[0] and row[9] == "LMP")
        spin = next(row for row in reserves if row[0] == hours[1] and row[6:8] == ["SR", "AS_CAISO"])
        energy[-2], spin[-2] = repr(float(energy[-2]) + 1.0), repr(float(spin[-2]) + 2.0)
        return lmp, reserves

    return corrected


def test_a_correction_is_asked_for_daily_and_each_price_is_named(
    oasis: LocalOasis, tmp_path: Path, storage: Storage, caplog: pytest.LogCaptureFixture
):
    now = datetime.now(UTC)
    clock, day = [now], now.astimezone(PACIFIC).date()
    source = prices_of(oasis, tmp_path, now=lambda: clock[0], attempts=1)

    def take_in() -> pl.DataFrame:
        assert not price_intake.take_in_days(source, storage.lake, [day]).missing
        return storage.lake.day(day).read("market.prices")

    before, asked = take_in(), len(oasis.asked)
    oasis.published = other_prices(oasis.published)
    assert take_in().equals(before)
    assert len(oasis.asked) == asked  # of a day that is not over yet
    clock[0] = now + timedelta(days=1)
    after = take_in()
    assert len(oasis.asked) == asked + 2
    change = after["energy_usd_per_mwh"] - before["energy_usd_per_mwh"]
    assert change.round(6).to_list() == [1.0] + [0.0] * (before.height - 1)
    (warning,) = [record.getMessage() for record in caplog.records]
    was, spin = before["energy_usd_per_mwh"][0], before["spin_usd_per_mw_h"][1]
    assert warning.startswith(
        f"2 prices of {day} were corrected: energy of hour ending {before['hour_ending'][0]} ${was:.2f} to "
        f"${was + 1.0:.2f}; spin of hour ending {before['hour_ending'][1]} ${spin:.2f} to ${spin + 2.0:.2f}. "
    )
    clock[0] = now + timedelta(days=2)
    oasis.faults = ["503"]
    assert take_in().equals(after)  # what we have stays where OASIS does not answer
    assert "in vain" in caplog.records[-1].getMessage()
    clock[0], asked = now + timedelta(days=6), len(oasis.asked)
    assert take_in().equals(after)
    assert len(oasis.asked) == asked


def test_five_days_are_asked_for_anew_where_the_lake_has_them(oasis: LocalOasis, prices: Prices, storage: Storage):
    def tick(source: Prices) -> tuple[list[str], str | None]:
        context = dg.build_schedule_context(
            scheduled_execution_time=datetime(2024, 7, 15, 15, tzinfo=PACIFIC),
            resources={"prices_source": source, "storage": storage},
            repository_def=defs.get_repository_def(),
        )
        found = correct_prices_daily.evaluate_tick(context)
        return [str(request.partition_key) for request in found.run_requests or []], found.skip_message

    assert tick(prices) == ([], "the lake has none of the 5 days before 2024-07-15")
    days = [date(2024, 7, day) for day in range(8, 15)]
    price_intake.take_in_days(prices.open(), storage.lake, days)
    assert tick(prices) == ([f"2024-07-{day}" for day in (14, 13, 12, 11, 10)], None)
    assert tick(Prices()) == ([], "prices come from synthetic, which corrects none")
    assert correct_prices_daily.default_status == dg.DefaultScheduleStatus.RUNNING
