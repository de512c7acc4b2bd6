"""One opportunity from negotiation to bid in a single call, for notebooks and for users of the original project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.calendar import PACIFIC, PRICE_COLUMN, bid_deadline_utc, market_hours, opportunity_id, slot_of
from vpp_pipeline.core.errors import InputError, ViolationError
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.core.provenance import code_version, fingerprint
from vpp_pipeline.fleet.arrays import fleet_arrays
from vpp_pipeline.fleet.envelope import hourly_envelope, out_of_reach
from vpp_pipeline.fleet.file import check_fleet
from vpp_pipeline.fleet.notes.apply import tighten
from vpp_pipeline.fleet.quarantine import first_problem
from vpp_pipeline.forecasting.profiles import load_forecast, solar_forecast
from vpp_pipeline.llm.session import open_adviser
from vpp_pipeline.pipeline import bid
from vpp_pipeline.reporting.documents import documents_of
from vpp_pipeline.schemas import DESK, Opportunities, validate
from vpp_pipeline.schemas.documents import CycleResult, MarketOpportunity
from vpp_pipeline.settings import Settings
from vpp_pipeline.verification.bids import (
    bid_curves_are_valid_for_caiso,
    bids_meet_80_percent_of_required_capacity,
    coalitions_have_enough_members,
)
from vpp_pipeline.verification.money import top_ups_are_a_fair_part_of_the_profit
from vpp_pipeline.verification.negotiation import negotiations_follow_the_protocol, nobody_is_paid_below_reservation
from vpp_pipeline.verification.schedule import no_kilowatt_hour_is_sold_twice, no_prosumer_is_pushed_past_its_limits

if TYPE_CHECKING:
    import pandas as pd

RULES = [
    negotiations_follow_the_protocol,
    nobody_is_paid_below_reservation,
    no_prosumer_is_pushed_past_its_limits,
    no_kilowatt_hour_is_sold_twice,
    bids_meet_80_percent_of_required_capacity,
    coalitions_have_enough_members,
    bid_curves_are_valid_for_caiso,
    top_ups_are_a_fair_part_of_the_profit,
]
FLEET = "the fleet table"
MARKET_COLUMN = {one.name: "lmp" if one.is_energy else f"{one.name}_price" for one in CAISO.products}


def run_cycle(
    opportunity: MarketOpportunity,
    fleet: pl.DataFrame | pd.DataFrame,
    market_data: pl.DataFrame | pd.DataFrame,
    settings: Settings | None = None,
) -> CycleResult:
    """Negotiate, optimise and price one opportunity on its own.

    ``fleet``: rows of `fleet.prosumers` (see docs/fleet.md); `initial_stored_kwh` is the state of charge when the
    block begins. ``market_data``: timestamp, and MARKET_COLUMN in $/MWh or $ per MW and hour; it must
    hold the block's hours, and gives the price where the opportunity names none. Timestamps without an offset are
    Pacific.

    One opportunity has no other hours: stored energy may fall to what each owner keeps, and charging is not modelled:
    an EV keeps its ready charge throughout. Who holds less than that takes no part.

    The result is verified by the rules of a whole day, but for those on money between bids and on time.

    Raises InputError where fleet, market data or opportunity cannot be used, ViolationError where a rule is broken.
    """
    settings = settings or Settings()
    start_utc = _utc(opportunity.timestamp)
    market_date = start_utc.astimezone(PACIFIC).date()
    hours = _block(opportunity, start_utc)
    price = _market_price(opportunity, _polars(market_data), hours["start_utc"])
    loaded = check_fleet(_polars(fleet), market_date, FLEET)
    if loaded.quarantine.height:
        raise first_problem(loaded, FLEET)
    prosumers = tighten(loaded.prosumers)[0] if settings.fleet.reads_notes else loaded.prosumers
    prosumers = prosumers.with_columns(resource_id=pl.lit(DESK))  # one opportunity is of one resource
    reserve = pl.max_horizontal("backup_reserve_fraction", pl.col("ev_ready_fraction").fill_null(0.0))
    standing = prosumers.with_columns(
        max_charge_kw=pl.lit(0.0),
        ev_drive_kwh=pl.lit(0.0),
        ev_ready_fraction=pl.lit(None, pl.Float64),
        backup_reserve_fraction=reserve,
        terminal_stored_kwh=reserve * pl.col("capacity_kwh"),
    )
    profiles = solar_forecast(market_date), load_forecast(market_date)
    availability = hourly_envelope(standing, market_hours(market_date), *profiles).join(
        hours, on="start_utc", how="semi"
    )
    short = out_of_reach(standing, availability).select("prosumer_id")
    standing, availability = (
        frame.join(short, on="prosumer_id", how="anti", maintain_order="left") for frame in (standing, availability)
    )
    if standing.is_empty():
        raise InputError(
            "no prosumer holds more than its owner's reserve",
            column="initial_stored_kwh",
            remedy="Give the state of charge at the start of the block",
        )
    arrays = fleet_arrays(standing, availability)
    # no other hour to recharge in or to sell in: energy has no price but the opportunity's own
    forecast = hours.with_columns(pl.lit(0.0).alias(column) for column in PRICE_COLUMN.values())
    if opportunity.required_capacity_mw < settings.rules.minimum_mw(opportunity.market_type):
        raise InputError(
            f"{opportunity.opportunity_id} is too small for the market",
            column="required_capacity_mw",
            value=opportunity.required_capacity_mw,
            remedy=f"Ask for at least {settings.rules.minimum_mw(opportunity.market_type)} MW",
        )
    wanted = _as_table(
        opportunity,
        start_utc,
        hours,
        price,
        arrays.capacity_kw(opportunity.market_type, settings.rules.call_hours(opportunity.market_type)).sum(axis=0),
    )

    stamp = Stamp(
        fingerprint({"fleet": prosumers, "opportunity": wanted}, settings.deciding()),
        code_version(),
        None,
        "run_cycle",
        datetime.now(UTC),
    )
    given = {
        "market.price_forecast": forecast,
        "fleet.prosumers": standing,
        "fleet.availability": availability,
        "market.opportunities": wanted,
    }
    with open_adviser(settings, project_folder() / "data", run_id=stamp.run_id, market_date=market_date) as adviser:
        day = bid(given, settings, stamp, adviser)
    results = {rule.__name__: rule(day, settings) for rule in RULES}
    broken = [f"{name}: {result.description}" for name, result in results.items() if not result.passed]
    if broken:
        raise ViolationError("no bid is formed; " + "; ".join(broken))
    shares = day["dispatch.owen_shares"]
    top_ups = dict(shares.select("prosumer_id", "top_up_usd").iter_rows())
    return next(documents_of(day)).model_copy(update={"prosumer_top_ups": top_ups})


def _polars(frame: pl.DataFrame | pd.DataFrame) -> pl.DataFrame:
    return frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)


def _utc(moment: datetime) -> datetime:
    """A moment in UTC; Pacific where it has no offset."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=PACIFIC)).astimezone(UTC)


def _block(opportunity: MarketOpportunity, start_utc: datetime) -> pl.DataFrame:
    """The market hours that the opportunity covers."""
    count = round(opportunity.duration_hours)
    day = market_hours(start_utc.astimezone(PACIFIC).date())
    hours = day.filter(pl.col("start_utc").is_between(start_utc, start_utc + timedelta(hours=count - 1)))
    if count != opportunity.duration_hours or hours.height != count or hours["start_utc"][0] != start_utc:
        raise InputError(
            f"{opportunity.opportunity_id} does not cover whole hours of one market day",
            column="timestamp, duration_hours",
            value=f"{opportunity.timestamp}, {opportunity.duration_hours}",
            remedy="Begin on the hour, last whole hours, and end by Pacific midnight",
        )
    return hours


def _market_price(opportunity: MarketOpportunity, market: pl.DataFrame, starts: pl.Series) -> float:
    """The opportunity's own price, else the market's mean over the block."""
    column = MARKET_COLUMN[opportunity.market_type]
    missing = [name for name in ("timestamp", column) if name not in market.columns]
    if missing:
        raise InputError(
            "columns are missing in market_data",
            column=", ".join(missing),
            remedy=f"Give timestamp, {', '.join(MARKET_COLUMN.values())}",
        )
    prices = {_utc(moment): value for moment, value in market.select("timestamp", column).iter_rows()}
    found = np.array([prices.get(start) for start in starts], dtype=float)  # an absent price is not a number
    if not np.isfinite(found).all():
        raise InputError(
            "market_data has no price for an hour of the block",
            column=column,
            value=found.tolist(),
            remedy="Give every hour of it",
        )
    return float(found.mean()) if opportunity.market_price_mwh is None else opportunity.market_price_mwh


def _as_table(
    opportunity: MarketOpportunity, start_utc: datetime, hours: pl.DataFrame, price: float, offerable_kw: np.ndarray
) -> pl.DataFrame:
    """The opportunity as a row of `market.opportunities`, under its own name."""
    market_date = hours["market_date"][0]
    deadline = _utc(opportunity.deadline) if opportunity.deadline else bid_deadline_utc(market_date)
    row = {
        "opportunity_id": opportunity.opportunity_id or opportunity_id(opportunity.market_type, start_utc),
        "market_date": market_date,
        "slot": slot_of(opportunity.market_type, hours["hour_ending"][0]),
        "product": opportunity.market_type,
        "start_utc": start_utc,
        "duration_hours": hours.height,
        "required_capacity_mw": opportunity.required_capacity_mw,
        "offerable_capacity_mw": float(offerable_kw.min()) / 1000.0,
        "forecast_price": price,
        "market_price": price,
        "origin": "request",
        "resource_id": DESK,
        "participation": "hourly",
        "closed_reason": None,
        "deadline_utc": deadline,
    }
    return validate(Opportunities, pl.DataFrame([row], schema_overrides={"closed_reason": pl.String}))
