"""What is watched: whether OASIS's prices are out, and runs that were lost.

Runs of the command line whose process was killed. Dagster would show them as running, and queue every later run of
their market day behind them. Each holds a file lock while it runs, which the operating system frees however it ends.

Runs of a back-fill that were lost last. Dagster calls a back-fill complete as soon as none of its runs is under way and
runs none of a complete one again: one that it had marked to be run again is left where it sees the back-fill first.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import dagster as dg
from filelock import FileLock, Timeout

from vpp_pipeline.core.calendar import HISTORY_DAYS, PACIFIC, history_dates, prices_published_utc
from vpp_pipeline.core.errors import NoDataError
from vpp_pipeline.core.lake import Lake
from vpp_pipeline.core.paths import history_folder
from vpp_pipeline.defs.asset_factory import DAYS
from vpp_pipeline.defs.keys import is_own, key_of
from vpp_pipeline.defs.price_intake import PRICES, is_in
from vpp_pipeline.defs.resources import Prices, Storage
from vpp_pipeline.market.oasis.report import OasisDownError, OasisError
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.warehouse.day import published
from vpp_pipeline.warehouse.publish import complete

LATE_MINUTES = 30.0
CHECK = "prices_are_in_when_they_should_be"

State = Literal["in", "out", "awaited", "late", "down", "refused"]
CALM: frozenset[State] = frozenset({"in", "out", "awaited"})
# marks a run of the command line, hidden on Dagster's pages; anyone may write tags, so its content is never read
LOCK_TAG = ".dagster/vpp_lock"
AGAIN_TAG = "vpp/again"  # the lost run that this one is made for
LEFT_DAYS = 1.0  # of runs that ended before, someone has seen to it
LIVE = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class Watch:
    """How things stand with the newest market day whose prices should be out."""

    day: date
    state: State
    minutes: float  # since its publication was due
    description: str
    earlier: tuple[date, ...] = ()  # days of the week before that the lake lacks

    def evaluation(self) -> dg.AssetCheckEvaluation:
        """The same as an answer of the check, for when nothing was materialised that could run it."""
        return dg.AssetCheckEvaluation(
            asset_key=key_of(PRICES),
            check_name=CHECK,
            passed=self.state in CALM,
            severity=dg.AssetCheckSeverity.WARN,
            description=self.description,
            metadata={"minutes_since_publication": self.minutes, "market_date": self.day.isoformat()},
        )


def newest_due(now: datetime) -> date:
    """The last market day whose prices should be out: tomorrow's from 13:00 Pacific on, before that today's."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    return tomorrow if prices_published_utc(tomorrow) <= now else tomorrow - timedelta(days=1)


def watch(source: OasisPrices, lake: Lake, now: datetime, ask: bool) -> Watch:
    """Look at the lake and, where the newest day is missing there and in our copy, ask OASIS (or not)."""
    day = newest_due(now)
    minutes = (now - prices_published_utc(day)).total_seconds() / 60.0
    earlier = tuple(before for before in history_dates(day) if not is_in(lake, before, source))

    def found(state: State, description: str) -> Watch:
        return Watch(day, state, minutes, description, earlier)

    if is_in(lake, day, source):
        return found("in", f"the prices of {day} are in")
    try:
        if source.holds(day) or (ask and source.is_published(day)):
            return found("out", f"OASIS has published the prices of {day}")
    except OasisDownError as error:
        return found("down", f"OASIS does not answer, {minutes:.0f} minutes after {day} was due: {error}")
    except OasisError as error:
        return found("refused", f"OASIS refuses, so that nothing of {day} can come: {error}")
    waiting = f"{minutes:.0f} minutes after they were due"
    if minutes < LATE_MINUTES:
        return found("awaited", f"the prices of {day} are not out yet, {waiting}")
    return found("late", f"OASIS is late: no whole prices of {day} {waiting}. Bids of {day} need none of them")


def requests_for(latest: Watch, now: datetime, settles: bool) -> list[dg.RunRequest]:
    """Runs for what is out and not in: the newest day at most once an hour, each earlier one at most once a day.

    ``settles``: the day's bids are made and their settlement was due, so the run that takes the prices in settles too.
    """
    wanted = []
    if latest.state == "out":
        job = "settle_day" if settles else "ingest_market"
        key = f"{latest.day} {now:%Y-%m-%dT%H}"
        wanted.append(dg.RunRequest(run_key=key, partition_key=latest.day.isoformat(), job_name=job))
    if latest.state in CALM:
        for day in latest.earlier:
            key = f"{day} {now:%Y-%m-%d}"
            wanted.append(dg.RunRequest(run_key=key, partition_key=day.isoformat(), job_name="ingest_market"))
    return wanted


def wait(prices: Prices, storage: Storage, now: datetime, cursor: str | None) -> dg.SensorResult:
    """One tick: runs for published days, a reason for others, and the check's result whenever that changes."""
    source = prices.open()
    if not isinstance(source, OasisPrices):
        return dg.SensorResult(skip_reason=f"prices come from {source.name}: nothing to wait for")
    latest = watch(source, storage.lake, now, ask=True)
    is_settled_late = now.astimezone(PACIFIC).hour >= 14 and latest.day > now.astimezone(PACIFIC).date()
    settles = is_settled_late and published(storage.lake, latest.day) is not None
    requests = requests_for(latest, now, settles)
    here = f"{latest.day} {latest.state}"
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else latest.description,
        cursor=here,
        asset_events=[] if here == cursor else [latest.evaluation()],
    )


@dg.asset_check(
    asset=key_of(PRICES),
    name=CHECK,
    description="The newest market day whose prices should be out is in the lake; OASIS may be late, down or refuse.",
)
def prices_are_in(prices_source: Prices, storage: Storage) -> dg.AssetCheckResult:
    source, now = prices_source.open(), datetime.now(UTC)
    if not isinstance(source, OasisPrices):
        day = newest_due(now)
        reason = f"prices come from {source.name}: none are awaited, and the newest day due would be {day}"
        return dg.AssetCheckResult(passed=True, description=reason, metadata={"minutes_since_publication": 0.0})
    answer = watch(source, storage.lake, now, ask=False).evaluation()
    return dg.AssetCheckResult(
        passed=answer.passed, severity=answer.severity, description=answer.description, metadata=answer.metadata
    )


@dg.asset_check(
    asset=key_of("market.price_forecast"),
    name="the_forecast_rests_on_the_whole_week",
    description="All seven days before were there; where prices are late or down, the forecast does with fewer.",
    partitions_def=DAYS,
)
def the_week_is_whole(context: dg.AssetCheckExecutionContext, storage: Storage) -> dg.AssetCheckResult:
    forecast = storage.day(date.fromisoformat(context.partition_key))["market.price_forecast"]
    days, latest = int(forecast["history_days"].to_numpy().max()), forecast["latest_input_utc"][0]
    return dg.AssetCheckResult(
        passed=days >= HISTORY_DAYS,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{days} of {HISTORY_DAYS} days before, the last one published {latest:%Y-%m-%d %H:%MZ}",
        metadata={"history_days": float(days)},
    )


def has(source: PriceSource, day: date) -> bool:
    """Whether the source has the day at hand. OASIS itself is not asked: a schedule has seconds, an answer may take
    minutes."""
    if isinstance(source, OasisPrices):
        return source.holds(day)
    try:
        source.day(day)
    except NoDataError:
        return False
    return True


def can_give(source: PriceSource, day: date) -> bool:
    """Whether a run may find the day: at hand, or due at OASIS, which the run then asks."""
    return source.is_due(day) if isinstance(source, OasisPrices) else has(source, day)


def lock_of(run_id: str, data: Path) -> Path:
    """The file that a run of the command line holds locked: named after its id alone, beside the history of ``data``.

    Raises ValueError where the id is not one that Dagster makes.
    """
    return history_folder(data) / "running" / f"{uuid.UUID(run_id)}.lock"


def close_lost_runs(instance: dg.DagsterInstance, data: Path) -> list[str]:
    """Mark runs as failed whose lock, beside the history of ``data``, is free; their ids."""
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=LIVE)):
        if LOCK_TAG not in run.tags:
            continue
        file = lock_of(run.run_id, data)
        if not file.is_file():  # of another machine, or begun again from Dagster's UI, which copies tags
            continue
        try:
            with FileLock(file, timeout=0):
                instance.report_run_failed(run, "Its process ended without a word; run the day again.")
                closed.append(run.run_id)
        except Timeout:
            continue
        file.unlink(missing_ok=True)
    return closed


def left_runs(instance: dg.DagsterInstance, now: datetime) -> list[dg.RunRequest]:
    """Runs to be made again that were lost, and that Dagster leaves since it had called their back-fill complete.

    Each once, and as a run by itself, which Dagster then watches. None of a back-fill that somebody has canceled.
    """
    lost = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE],
        tags={"dagster/will_retry": "true"},
        updated_after=now - timedelta(days=LEFT_DAYS),
    )
    wanted = []
    for run in instance.get_runs(lost):
        name = run.tags.get("dagster/backfill")
        if not is_own(run) or name is None or "dagster/auto_retry_run_id" in run.tags:
            continue
        backfill = instance.get_backfill(name)
        if backfill is not None and backfill.status.value.startswith("COMPLETED"):
            day = run.tags["dagster/partition"]
            again = {AGAIN_TAG: run.run_id}
            request = dg.RunRequest(f"again {run.run_id}", partition_key=day, job_name=run.job_name, tags=again)
            wanted.append(request)
    return wanted


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs of the command line as failed whose process was killed, so that nothing waits for them, "
    "and completes a publication that was stopped between its commit and the warehouse.",
)
def lost_runs(context: dg.SensorEvaluationContext, storage: Storage) -> dg.SkipReason:
    closed = close_lost_runs(context.instance, Path(storage.data_folder))
    complete(storage.lake, storage.warehouse)
    return dg.SkipReason(f"closed {', '.join(closed)}" if closed else "every run has its process")
