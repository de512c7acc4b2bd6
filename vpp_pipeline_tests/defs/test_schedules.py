"""When the jobs run by themselves, and for which trade date."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from vpp_pipeline.core.calendar import note_on_source
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.definitions import bid_at_eight, defs, ingest_at_half_past_one, settle_at_two
from vpp_pipeline.defs.asset_factory import DAYS
from vpp_pipeline.defs.keys import key_of
from vpp_pipeline.defs.resources import Prices, Storage
from vpp_pipeline_tests.defs.desk import GRAPH, SMALL, new_desk
from vpp_pipeline_tests.warehouse.rows import rows

PACIFIC = ZoneInfo("America/Los_Angeles")
EXAMPLE_PRICES = Prices(path=str(project_folder() / "data" / "example_prices_2023-08.csv"))  # up to 2023-08-31
SCHEDULES = {ingest_at_half_past_one: (13, 30), bid_at_eight: (8, 0), settle_at_two: (14, 0)}

NAMED = 'kind = "synthetic"'

Ask = Callable[..., tuple[list[str], str | None]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Partitions that a schedule's tick asks for, or why it asks for none."""

    def tick(
        schedule: dg.ScheduleDefinition, moment: datetime, prices: Prices | None = None, bids_of: date | None = None
    ) -> tuple[list[str], str | None]:
        storage, defaults = Storage(data_folder=str(tmp_path)), tmp_path / "prices.toml"
        if not defaults.exists():
            defaults.write_text(NAMED)
        if bids_of:
            storage.lake.write("bids.final_bids", bids_of, rows("bids.final_bids", bids_of))
        resources = {"prices_source": prices or Prices(defaults=str(defaults)), "storage": storage}
        wanted = resources if schedule is settle_at_two else {"prices_source": resources["prices_source"]}
        context = dg.build_schedule_context(
            scheduled_execution_time=moment, resources=wanted, repository_def=defs.get_repository_def()
        )
        found = schedule.evaluate_tick(context)
        return [str(request.partition_key) for request in found.run_requests or []], found.skip_message

    return tick


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_schedules_are_on_and_keep_pacific_time(schedule: dg.ScheduleDefinition):
    hour, minute = SCHEDULES[schedule]
    assert schedule.cron_schedule == f"{minute} {hour} * * *"
    assert schedule.execution_timezone == "America/Los_Angeles"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert defs.resolve_schedule_def(schedule.name) is not None


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
@pytest.mark.parametrize("first", [date(2024, 7, 10), date(2024, 3, 8), date(2024, 11, 1)])
def test_each_days_tick_asks_for_the_trade_date_after_it(schedule: dg.ScheduleDefinition, first: date, ask: Ask):
    """Ordinary days, and the days around the spring and the autumn change of clocks."""
    begin = datetime.combine(first, datetime.min.time(), PACIFIC)
    ticks = schedule_execution_time_iterator(
        begin.timestamp(), schedule.cron_schedule, schedule.execution_timezone, ascending=True
    )
    for day in range(5):
        moment, trade_date = next(ticks), first + timedelta(days=day + 1)
        assert (moment.astimezone(PACIFIC).hour, moment.astimezone(PACIFIC).minute) == SCHEDULES[schedule]
        bids_of = trade_date if schedule is settle_at_two else None
        assert ask(schedule, moment.astimezone(UTC), bids_of=bids_of) == ([trade_date.isoformat()], None)


@pytest.mark.parametrize("today", [date(2024, 7, 10), date(2024, 3, 9), date(2024, 3, 10), date(2024, 11, 2)])
def test_tomorrow_is_a_partition_at_eight(today: date):
    at_eight = datetime(today.year, today.month, today.day, 8, tzinfo=PACIFIC)
    assert DAYS.get_partition_keys(current_time=at_eight)[-1] >= (today + timedelta(days=1)).isoformat()
    late = datetime(today.year, today.month, today.day, 23, 59, tzinfo=PACIFIC)
    assert DAYS.get_partition_keys(current_time=late)[-1] >= (today + timedelta(days=1)).isoformat()


def test_bids_go_first_and_what_hangs_is_stopped_while_there_is_time_to_bid_again(tmp_path: Path):
    """Freshness of the bids is due at the same time; the market closes at 10:00."""
    wanted = {}
    for schedule in (bid_at_eight, ingest_at_half_past_one):
        context = dg.build_schedule_context(
            scheduled_execution_time=datetime(2023, 8, 14, 8, tzinfo=PACIFIC),
            resources={"prices_source": Prices(kind="synthetic")},
            repository_def=defs.get_repository_def(),
        )
        (request,) = schedule.evaluate_tick(context).run_requests or []
        wanted[schedule] = request.tags
    assert wanted[bid_at_eight].items() >= {"prices": "synthetic", "dagster/priority": "10"}.items()
    assert wanted[ingest_at_half_past_one]["dagster/priority"] == "5"
    stopped = datetime(2023, 8, 14, 8, tzinfo=PACIFIC) + timedelta(
        seconds=int(wanted[bid_at_eight]["dagster/max_runtime"])
    )
    policy = GRAPH.get(key_of("bids.final_bids")).freshness_policy
    assert isinstance(policy, dg.FreshnessPolicy)
    assert policy.deadline_cron == f"{stopped.minute} {stopped.hour} * * *"
    assert stopped.hour < 10


def test_a_source_without_the_day_skips_the_tick(ask: Ask):
    asked, reason = ask(ingest_at_half_past_one, datetime(2023, 9, 9, 13, 30, tzinfo=PACIFIC), EXAMPLE_PRICES)
    assert (asked, reason) == ([], "synthetic (file) holds no prices of 2023-09-10 yet")
    asked, reason = ask(bid_at_eight, datetime(2023, 9, 9, 8, tzinfo=PACIFIC), EXAMPLE_PRICES)
    assert asked == []
    assert "0 of the 7 days before 2023-09-10" in str(reason)
    asked, reason = ask(
        settle_at_two, datetime(2023, 9, 9, 14, tzinfo=PACIFIC), EXAMPLE_PRICES, bids_of=date(2023, 9, 10)
    )
    assert (asked, reason) == ([], "synthetic (file) holds no prices of 2023-09-10 yet")


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        (None, False),
        ('[meters]\npath = "meters.csv"', False),
        ("synthetic = true", True),
        ('kind = "synthetic"', True),
        (f'path = "{EXAMPLE_PRICES.path}"', True),
    ],
)
def test_schedules_bid_on_generated_prices_only_where_the_owner_says_so(
    text: str | None, is_named: bool, ask: Ask, tmp_path: Path
):
    defaults = tmp_path / "of_owner.toml"
    if text is not None:
        defaults.write_text(text)
    prices = Prices(defaults=str(defaults))
    for schedule, moment in ((bid_at_eight, 8), (ingest_at_half_past_one, 13)):
        asked, reason = ask(schedule, datetime(2023, 8, 14, moment, 30, tzinfo=PACIFIC), prices)
        assert asked == (["2023-08-15"] if is_named else [])
        if not is_named:
            assert str(reason).startswith("no source of prices is named")
            assert f"write a source into {defaults}" in str(reason)
    asked, reason = ask(bid_at_eight, datetime(2023, 8, 14, 8, tzinfo=PACIFIC), Prices(kind="synthetic"))
    assert (asked, reason) == (["2023-08-15"], None)  # as the owner's own resource says


@pytest.mark.parametrize(("prices", "is_warned"), [({}, True), ({"path": "market.csv"}, False)])
def test_a_run_on_generated_prices_warns_in_its_log(prices: dict[str, str], is_warned: bool, tmp_path: Path):
    lines = Path(str(EXAMPLE_PRICES.path)).read_text().splitlines()
    (tmp_path / "market.csv").write_text("\n".join(line for line in lines if not line.startswith("#")))
    desk = new_desk(prices={name: str(tmp_path / file) for name, file in prices.items()})
    result = desk.make("market.price_forecast")
    assert result.success
    warnings = [entry.user_message for entry in desk.instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert [words for words in warnings if words.startswith("the prices are synthetic")] == (
        [note_on_source("synthetic")] if is_warned else []
    )


def test_three_days_of_history_are_enough_to_bid(ask: Ask):
    """The file ends on 2023-08-31: 5 September knows three days of its week before, 6 September two."""
    assert ask(bid_at_eight, datetime(2023, 9, 4, 8, tzinfo=PACIFIC), EXAMPLE_PRICES) == (["2023-09-05"], None)
    asked, reason = ask(bid_at_eight, datetime(2023, 9, 5, 8, tzinfo=PACIFIC), EXAMPLE_PRICES)
    assert asked == []
    assert "2 of the 7 days" in str(reason)


def test_a_day_without_bids_is_not_settled(ask: Ask):
    asked, reason = ask(settle_at_two, datetime(2024, 7, 10, 14, tzinfo=PACIFIC))
    assert (asked, reason) == ([], "no bids for 2024-07-11 are published")


@pytest.mark.parametrize(
    ("day", "hours", "last"),
    [pytest.param("2024-03-10", 23, "0000", marks=pytest.mark.slow), ("2024-11-03", 25, "0100r")],
)
def test_a_day_on_which_the_clocks_change_is_bid_whole(day: str, hours: int, last: str):
    desk = new_desk(settings={**SMALL, "fleet": {"prosumers": 12}, "optimiser": {"node_limit": 20}})
    assert desk.run(day=day).success
    bids = desk.day(day)["bids.final_bids"]
    ours = bids["resource_id"].n_unique()
    assert bids.height == 3 * hours * ours
    of_last = bids.filter(pl.col("opportunity_id").str.starts_with(f"energy_{day.replace('-', '')}_{last}_vpp-"))
    assert of_last.height == ours > 1
    assert desk.day(day)["dispatch.proof"]["hours"].to_list() == [hours]
    assert desk.sql(f"select count(*) from bids.final_bids where market_date = '{day}'") == [(3 * hours * ours,)]
    assert set(desk.day(day)["bids.checks"]["violations"]) == {0}
