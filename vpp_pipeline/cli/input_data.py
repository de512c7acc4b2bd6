"""Commands of input data: market prices taken in day by day, and example files of prices, fleet and meters."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vpp_pipeline.cli.options import DATA, FILE, MARKET_DATE, NO_HISTORY, SOURCE, Options, with_options
from vpp_pipeline.cli.progress import Counted, is_quiet
from vpp_pipeline.core.display import printable
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.core.paths import project_folder

if TYPE_CHECKING:
    from vpp_pipeline.market.price_source import PriceSource

LOG = logging.getLogger(__name__)
EXAMPLE_DAY = date(2023, 8, 15)
MONTH = 31


@click.command()
@with_options(DATA, *SOURCE)
@click.option("--date", "market_date", type=MARKET_DATE, help="One day, as a run of the job ingest_market.")
@click.option("--from", "first", type=MARKET_DATE, help="First day of a range.")
@click.option("--to", "last", type=MARKET_DATE, help="Its last day. [default: the newest that is published]")
@click.option("--again", is_flag=True, help="Also ask for those days of a range that are there already.")
@NO_HISTORY
def ingest(
    options: Options,
    market_date: date | None,
    first: date | None,
    last: date | None,
    again: bool,
    keeps_history: bool,
) -> None:
    """Take in published prices, for one day or a range.

    \b
    vpp-pipeline ingest --date 2025-06-01 --source oasis
    vpp-pipeline ingest --from 2025-01-01 --to 2025-12-31 --source oasis --node TH_SP15_GEN-APND

    Days of a range that are there already are skipped, so an interrupted command continues where it ended.
    """
    if (market_date is None) == (first is None):
        raise InputError("one day or a range?", remedy="Give --date, or --from and --to")
    _say_what_is_asked(options)
    if first is not None:
        prices = options.price_config()
        done = ingest_range(first, last, options.data, prices, anew=again, keeps_history=keeps_history)
        click.echo(printable(done))
    elif market_date is not None:
        from vpp_pipeline.cli.run_job import run_job
        from vpp_pipeline.data_settings import lake_of

        run_job("ingest_market", market_date, options.data, options.price_config(), {}, keeps_history=keeps_history)
        click.echo(f"prices of {market_date} are in {lake_of(options.data).address}")


def _say_what_is_asked(options: Options) -> None:
    """Where prices come from, at once, and of OASIS each question and each wait as it comes: it may take minutes."""
    from vpp_pipeline.core.errors import without_secrets
    from vpp_pipeline.data_settings import OasisSettings
    from vpp_pipeline.defs.resources import Prices, prices_beside

    asked, _ = Prices(**{**prices_beside(options.data), **options.price_config()}).chosen()
    if isinstance(asked, OasisSettings) and not is_quiet():
        limits = f"up to {asked.attempts} attempts of a question, each of at most {asked.timeout_s:g} s"
        click.echo(f"prices of OASIS, {without_secrets(asked.url)}: {limits}", err=True)
        questions = logging.getLogger("vpp_pipeline.market.oasis.client")
        questions.setLevel(min(questions.getEffectiveLevel(), logging.INFO))
        click.get_current_context().call_on_close(lambda: questions.setLevel(logging.NOTSET))


@click.command("make-data")
@click.option("--out", type=FILE, default=lambda: project_folder() / "data", help="Folder. [default: data]")
def make_data(out: Path) -> None:
    """Write the embedded example prices."""
    from vpp_pipeline.market.synthetic_prices import EXAMPLE_NAME, write_example

    write_example(out / EXAMPLE_NAME)
    click.echo(f"wrote {out / EXAMPLE_NAME}")


@click.command("make-fleet")
@click.option("--out", type=FILE, default="my_fleet.csv", help="New CSV file. [default: my_fleet.csv]")
@click.option(
    "--prosumers",
    type=click.IntRange(3, 1_000_000),
    default=200,
    metavar="N",
    help="How many. [default: 200]",
)
def make_fleet(out: Path, prosumers: int) -> None:
    """Write a generated fleet as CSV, to edit into your own.

    \b
    vpp-pipeline make-fleet --out my_fleet.csv
    vpp-pipeline bids --date 2023-08-15 --fleet my_fleet.csv
    """
    from vpp_pipeline.fleet.generator import generate_fleet
    from vpp_pipeline.settings import FleetSettings

    _must_be_new(out)
    fleet = generate_fleet(FleetSettings(prosumers=prosumers), EXAMPLE_DAY).drop("market_date")
    fleet.write_csv(out)
    click.echo(f"wrote {fleet.height} prosumers to {out}")


@click.command("make-meters")
@click.option("--out", type=FILE, default="my_meters.csv", help="New CSV file. [default: my_meters.csv]")
@click.option("--sites", type=click.IntRange(1, 1000), default=20, metavar="N", help="How many. [default: 20]")
@click.option("--from", "first", type=MARKET_DATE, default="2023-07-10", help="First day. [default: 2023-07-10]")
@click.option("--to", "last", type=MARKET_DATE, default=str(EXAMPLE_DAY), help="Last day. [default: 2023-08-15]")
def make_meters(out: Path, sites: int, first: date, last: date) -> None:
    """Write synthetic metered hours as CSV, to try the layout.

    \b
    vpp-pipeline make-meters --out my_meters.csv
    vpp-pipeline bids --date 2023-08-15 --meters my_meters.csv
    """
    from vpp_pipeline.forecasting.meters import write_meters

    _must_be_new(out)
    _must_be_in_order(first, last)
    rows = write_meters(out, first, last, sites)
    click.echo(f"wrote {rows} synthetic hours of {sites} sites to {out}")


def _must_be_new(file: Path) -> None:
    """Makes its folder. Raises InputError where the file is there."""
    if file.exists():
        raise InputError("the file is there already", file=file, remedy="Name another one with --out, or remove it")
    file.parent.mkdir(parents=True, exist_ok=True)


def _must_be_in_order(first: date, last: date) -> None:
    if last < first:
        raise InputError("a range that ends before it begins", value=f"{first} to {last}", remedy="Exchange the two")


def ingest_range(
    first: date, last: date | None, data: Path, prices: dict[str, Any], anew: bool = False, keeps_history: bool = True
) -> str:
    """Take in ``first`` to ``last`` (default: the newest that should be out), oldest first; a sentence on the result.

    Each day is written and recorded when it is whole; days that the lake holds from this source and node are skipped,
    unless ``anew``. Days that the source did not give are tried once more at the end. Raises ``NoDataError`` naming
    what is still missing, ``OasisDownError`` as soon as OASIS is down, and ``InputError`` for a wrong day: what came
    before is kept.
    """
    from vpp_pipeline.cli.run_job import instance_of
    from vpp_pipeline.data_settings import lake_of
    from vpp_pipeline.defs.asset_factory import DAYS
    from vpp_pipeline.defs.price_intake import is_in, materialisation_of, take_in
    from vpp_pipeline.defs.resources import Prices, prices_beside
    from vpp_pipeline.defs.sensors import newest_due

    source, lake = Prices(**{**prices_beside(data), **prices}).open(), lake_of(data)
    last = last or newest_due(datetime.now(UTC))
    _must_be_in_order(first, last)
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    wanted = days if anew else [day for day in days if not is_in(lake, day, source)]
    tried, missing = wanted, dict[date, NoDataError]()
    counted = Counted(printable(f"days of {source.name} {source.node}"), len(days), len(days) - len(wanted))
    with instance_of(data, keeps_history=keeps_history) as instance, counted:
        for _ in range(2):
            missing = {}
            for day, found in _given(source, tried, anew):
                if isinstance(found, NoDataError):
                    missing[day] = found
                    LOG.info("%s: %s", day, found)
                    continue
                take_in(lake, day, found)
                if DAYS.has_partition_key(day.isoformat()):  # earlier days are kept, for those who learn from them
                    instance.report_runless_asset_event(materialisation_of(day, found))
                LOG.info("%s: prices of %s at %s are in", day, source.name, source.node)
                counted.advance()
            tried = list(missing)
    done = f"{len(wanted) - len(missing)} of {len(days)} days taken in from {source.name}, {len(days) - len(wanted)} "
    done += f"were there; {first} to {last} at {source.node} in {lake.address}"
    if missing:
        names = ", ".join(map(str, list(missing)[:10])) + (" …" if len(missing) > 10 else "")
        raise NoDataError(
            f"{len(missing)} days are missing: {names}; {done}; the first because: {next(iter(missing.values()))}",
            remedy="The same command continues where this one ended",
        )
    return done


def _given(source: PriceSource, days: Sequence[date], anew: bool) -> Iterator[tuple[date, Any]]:
    """Each day with its prices, or with why there are none; energy prices of OASIS are fetched a month at a time."""
    from vpp_pipeline.market.oasis.report import OasisDownError
    from vpp_pipeline.market.oasis.source import OasisPrices

    for at in range(0, len(days), MONTH):
        month = days[at : at + MONTH]
        if isinstance(source, OasisPrices) and not anew:
            source.prefetch(month)
        for day in month:
            try:
                yield day, source.again(day) if anew and isinstance(source, OasisPrices) else source.day(day)
            except OasisDownError:
                raise
            except NoDataError as reason:
                yield day, reason
