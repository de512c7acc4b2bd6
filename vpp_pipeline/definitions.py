"""What Dagster sees: assets, checks, jobs, schedules and resources."""

import warnings
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from vpp_pipeline.core.calendar import LEAST_DAYS, PACIFIC, comparable, history_dates
from vpp_pipeline.core.paths import keep_files_private
from vpp_pipeline.core.portfolios import portfolio
from vpp_pipeline.defs import bids, dispatch, evaluation, fleet, market, negotiation
from vpp_pipeline.defs.alerts import alert_of_failed_runs, alert_of_late_bids
from vpp_pipeline.defs.checks import all_checks
from vpp_pipeline.defs.keys import OWN_TAGS, PREFIX, key_of
from vpp_pipeline.defs.owner import Owner, resources_of
from vpp_pipeline.defs.price_intake import is_in
from vpp_pipeline.defs.resources import Prices, Storage
from vpp_pipeline.defs.run_inputs import BIDS_JOB
from vpp_pipeline.defs.sensors import can_give, has, left_runs, lost_runs, prices_are_in, the_week_is_whole, wait
from vpp_pipeline.defs.upkeep import sweep_at_three, sweep_storage
from vpp_pipeline.market.oasis.source import CORRECTED_DAYS, OasisPrices
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.warehouse.day import published

PACIFIC_TIME = str(PACIFIC)
# in the queue: bids before what else is scheduled, both before back-fills and runs by hand, whose priority is 0
PRIORITY_TAG, FIRST, SOON = "dagster/priority", "10", "5"
BIDS_WITHIN_S = 3600  # from 08:00: a run that hangs is stopped at 09:00, while there is time to bid again
keep_files_private()  # whoever loads the definitions runs them

# each page links to the code that makes its table
all_assets = dg.with_source_code_references(
    dg.load_assets_from_modules([market, fleet, negotiation, dispatch, bids, evaluation])
)
_ingest = dg.AssetSelection.assets(key_of("market.prices"))
_published = dg.AssetSelection.assets(key_of("warehouse.published"))
_settled = dg.AssetSelection.assets(*(key_of(table) for table in evaluation.SETTLED.values()))
_settle = _ingest | _settled | _published
_by_hand = dg.AssetSelection.assets(key_of("negotiation.rounds"), key_of("evaluation.benchmark"))
_bids = dg.AssetSelection.all() - _ingest - _by_hand - _settled

ingest_market = dg.define_asset_job(
    "ingest_market",
    _ingest,
    tags=OWN_TAGS,
    description="Take in one day of published prices.",
)
LAUNCHPAD = """\
resources:
  prices_source:
    config:
      node: TH_SP15_GEN-APND  # pricing node; left out: as data/prices.toml says
  desk:
    config:
      fleet:
        prosumers: 200        # size of the generated fleet; or path: my_fleet.csv, of the data folder
      negotiation:
        engine: concession    # or uniform_clearing, or llm
        rounds: 3             # the last one ends the negotiation
      risk:
        scenarios: 1          # price scenarios; 1: the forecast alone
"""
bid_day = dg.define_asset_job(
    BIDS_JOB,
    _bids,
    tags=OWN_TAGS,
    description="From price history and fleet to the final bids of one trade date, checked and published.\n\n"
    f"What a run may choose, all of it optional:\n\n```yaml\n{LAUNCHPAD}```\n\n"
    "In the launchpad, Ctrl+Space lists every other setting with its meaning and default.",
)
# prices take a range in one run, settlement a day: that this job then takes a day a run is what it should do
warnings.filterwarnings("ignore", message="Asset job settle_day materializes assets with varying BackfillPolicies")
settle_day = dg.define_asset_job(
    "settle_day",
    _settle,
    tags=OWN_TAGS,
    description="Account of the day's bids at clearing prices.",
)

backtest_day = dg.define_asset_job(
    "backtest_day",
    dg.AssetSelection.assets(key_of("evaluation.benchmark")),
    tags=OWN_TAGS,
    description="What eight ways to run a past day would have earned; `evaluation.benchmark` of that day.",
)


def trade_date(context: dg.ScheduleEvaluationContext) -> date:
    """Tomorrow, seen from the Pacific clock at the scheduled time."""
    return context.scheduled_execution_time.astimezone(PACIFIC).date() + timedelta(days=1)


def _request(day: date, source: PriceSource, **tags: str) -> dg.RunRequest:
    """A run of the day before those that are asked for by hand; its tags say which prices it rests on."""
    marks = {"prices": source.name, PRIORITY_TAG: SOON} | tags
    return dg.RunRequest(partition_key=day.isoformat(), run_key=day.isoformat(), tags=marks)


@dg.schedule(
    job=ingest_market,
    cron_schedule="30 13 * * *",
    execution_timezone=PACIFIC_TIME,
    description="13:30 Pacific: tomorrow's day-ahead prices were published at 13:00.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def ingest_at_half_past_one(
    context: dg.ScheduleEvaluationContext, prices_source: Prices
) -> dg.RunRequest | dg.SkipReason:
    if skips := prices_source.unnamed():
        return dg.SkipReason(skips)
    day, source = trade_date(context), prices_source.open()
    return _request(day, source) if has(source, day) else dg.SkipReason(f"{source.name} holds no prices of {day} yet")


@dg.sensor(
    jobs=[ingest_market, settle_day],
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="From 13:00 Pacific: asks OASIS whether tomorrow's prices are out, and takes them in when they are; a "
    "day of the week before that is missing is taken in as well. Idle where prices come from elsewhere.",
)
def wait_for_prices(context: dg.SensorEvaluationContext, prices_source: Prices, storage: Storage) -> dg.SensorResult:
    return wait(prices_source, storage, datetime.now(UTC), context.cursor)


@dg.sensor(
    jobs=[ingest_market, bid_day, settle_day, backtest_day],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes a run of a back-fill again that was lost and that Dagster leaves, since it had called the "
    "back-fill complete before.",
)
def runs_left_by_back_fills(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    requests = left_runs(context.instance, datetime.now(UTC))
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else "none was left")


@dg.schedule(
    job=ingest_market,
    cron_schedule="0 15 * * *",
    execution_timezone=PACIFIC_TIME,
    description="15:00 Pacific: asks OASIS anew for the five days before, whose prices CAISO may have corrected. A "
    "warning of the run names each price that is another now.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def correct_prices_daily(
    context: dg.ScheduleEvaluationContext, prices_source: Prices, storage: Storage
) -> list[dg.RunRequest] | dg.SkipReason:
    today, source = context.scheduled_execution_time.astimezone(PACIFIC).date(), prices_source.open()
    if not isinstance(source, OasisPrices):
        return dg.SkipReason(f"prices come from {source.name}, which corrects none")
    days = [today - timedelta(days=back) for back in range(1, CORRECTED_DAYS + 1)]
    wanted = [day.isoformat() for day in days if is_in(storage.lake, day, source)]
    requests = [
        dg.RunRequest(partition_key=day, run_key=f"{day} as of {today}", tags={PRIORITY_TAG: SOON}) for day in wanted
    ]
    return requests or dg.SkipReason(f"the lake has none of the {CORRECTED_DAYS} days before {today}")


@dg.schedule(
    job=bid_day,
    cron_schedule="0 8 * * *",
    execution_timezone=PACIFIC_TIME,
    description="08:00 Pacific: bids for tomorrow's trade date, two hours before the market closes. "
    "Skipped while no source of prices is named.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def bid_at_eight(context: dg.ScheduleEvaluationContext, prices_source: Prices) -> dg.RunRequest | dg.SkipReason:
    if skips := prices_source.unnamed():
        return dg.SkipReason(skips)
    day, source = trade_date(context), prices_source.open()
    known = sum(can_give(source, earlier) for earlier in comparable(history_dates(day), day, source.name))
    if known < LEAST_DAYS:
        return dg.SkipReason(f"{source.name} holds {known} of the 7 days before {day}; a forecast needs {LEAST_DAYS}")
    return _request(day, source, **{PRIORITY_TAG: FIRST, dg.MAX_RUNTIME_SECONDS_TAG: str(BIDS_WITHIN_S)})


@dg.schedule(
    job=settle_day,
    cron_schedule="0 14 * * *",
    execution_timezone=PACIFIC_TIME,
    description="14:00 Pacific: tomorrow's prices have cleared, so the awards of this morning's bids are known.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def settle_at_two(
    context: dg.ScheduleEvaluationContext, prices_source: Prices, storage: Storage
) -> dg.RunRequest | dg.SkipReason:
    day, source = trade_date(context), prices_source.open()
    if published(storage.lake, day) is None:
        return dg.SkipReason(f"no bids for {day} are published")
    return _request(day, source) if has(source, day) else dg.SkipReason(f"{source.name} holds no prices of {day} yet")


def definitions_of(owner: Owner) -> dg.Definitions:
    """The definitions, with what ``owner`` alone decides.

    Raises RuntimeError where this process works for another portfolio than when they were imported.
    """
    if portfolio() != "".join(PREFIX):
        raise RuntimeError(f"a process works for one portfolio: its assets are those of {PREFIX}, not {portfolio()!r}")
    return dg.Definitions(
        assets=all_assets,
        asset_checks=[*all_checks, prices_are_in, the_week_is_whole],
        jobs=[ingest_market, bid_day, settle_day, backtest_day, sweep_storage],
        schedules=[ingest_at_half_past_one, correct_prices_daily, bid_at_eight, settle_at_two, sweep_at_three],
        sensors=[lost_runs, runs_left_by_back_fills, wait_for_prices, alert_of_failed_runs, alert_of_late_bids],
        executor=dg.in_process_executor,  # one process per run: the solvers and Dagster itself take seconds to import
        resources=resources_of(owner),
    )


defs = definitions_of(Owner())
