"""The market as data: CAISO's products, calendar, deadlines, and regimes, each declared once.

A further product of a known kind is one more `Product` in `CAISO.products`, and its columns in the wide tables of
`schemas/`. What the declaration cannot say is a rule, and has its place in the stage that applies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from typing import Literal
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Product:
    """A product of the day-ahead market: names, facts, and the settings that bound it.

    Settings are given by name: minimum, floor, cap, and duration of the group `rules`, premium and chance of a call of
    the group `negotiation`. The defaults are those of a reserve.
    """

    name: str
    price_column: str  # in every wide table of prices
    file_column: str  # in the public file of CAISO's prices
    oasis_type: str | None = None  # ANC_TYPE of OASIS' report PRC_AS; energy has a report of its own
    kind: Literal["energy", "reserve"] = "reserve"
    direction: Literal["up", "down"] = "up"
    minimum: str = "reserve_minimum_mw"
    price_floor: str = "reserve_price_floor_usd_per_mw_h"
    price_cap: str = "reserve_price_cap_usd_per_mw_h"
    call_hours: str = "reserve_call_hours"  # how long what is held must last when it is called
    holding: str = ""  # premium for an hour of readiness
    call_probability: str = ""
    substitute: str | None = None  # the product that serves in its place, so that it is never cheaper than this one
    needs_store: bool = True  # who may offer it: solar alone may not
    needs_certification: bool = True  # who may offer it: ancillary services, certified resources (tariff 8.3.4)

    @property
    def is_energy(self) -> bool:
        """Whether it is delivered, and not held for a call."""
        return self.kind == "energy"

    @property
    def unit(self) -> str:
        """Unit of a quantity over hours."""
        return "MWh" if self.is_energy else "MW·h"

    @property
    def per(self) -> str:
        """What a price is paid for."""
        return "MWh" if self.is_energy else "MW per hour"

    @property
    def held_column(self) -> str:
        """Column of `dispatch.schedule` that says how much of a reserve is held."""
        return f"{self.name}_kw"

    @property
    def certified_column(self) -> str:
        """Column of `market.resources` that says how much of a reserve a resource is certified for."""
        return f"certified_{self.name}_mw"

    @property
    def total_column(self) -> str:
        """Column of `bids.runs` with what a run bids of it over the day."""
        return f"{self.name}_mwh" if self.is_energy else f"{self.name}_mw_h"


@dataclass(frozen=True)
class Regime:
    """The rules from ``first_day`` on, until the next regime's."""

    first_day: date
    name: str
    change: str


@dataclass(frozen=True)
class Market:
    """A day-ahead market: its products, its clock and deadlines, the labels of its hours, and its regimes."""

    time_zone: ZoneInfo
    hour_labels: tuple[int, ...]  # the last one is the hour that autumn repeats
    bids_close: time  # of the day before, as the next two
    prices_published: time
    outlook_published: time
    products: tuple[Product, ...]  # energy first
    regimes: tuple[Regime, ...]  # in order of time; the first one reaches back forever

    def __post_init__(self) -> None:
        if [product.is_energy for product in self.products] != [True] + [False] * len(self.reserves):
            raise ValueError("a market declares energy first, and then reserves")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"a market declares a product twice: {', '.join(self.names)}")
        if any(product.direction == "down" for product in self.products):
            raise ValueError("a product down needs room to charge, which dispatch/formulation.py has no rule for yet")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the products."""
        return tuple(product.name for product in self.products)

    @property
    def reserves(self) -> tuple[Product, ...]:
        """The products that are held ready."""
        return self.products[1:]

    def product(self, name: str) -> Product:
        """The product of that name. Raises KeyError where there is none."""
        return {product.name: product for product in self.products}[name]


CAISO = Market(
    time_zone=ZoneInfo("America/Los_Angeles"),
    hour_labels=tuple(range(1, 26)),
    bids_close=time(10),  # a setting of the BPM for Market Operations
    prices_published=time(13),
    outlook_published=time(7),  # OASIS' forecast of solar and wind, the last of the system's to come
    products=(
        Product(
            name="energy",
            price_column="energy_usd_per_mwh",
            file_column="SP15",  # in spite of its name, of the row's own node
            kind="energy",
            minimum="energy_minimum_mw",
            price_floor="energy_price_floor_usd_per_mwh",
            price_cap="energy_price_cap_usd_per_mwh",
            needs_store=False,
            needs_certification=False,
        ),
        Product(
            name="spin",
            price_column="spin_usd_per_mw_h",
            file_column="Spin",
            oasis_type="SR",
            holding="spin_holding_usd_per_mw_h",
            call_probability="spin_call_probability",
        ),
        Product(
            name="nonspin",
            price_column="nonspin_usd_per_mw_h",
            file_column="NonSpin",
            oasis_type="NR",
            holding="nonspin_holding_usd_per_mw_h",
            call_probability="nonspin_call_probability",
            substitute="spin",
        ),
    ),
    regimes=(
        Regime(date.min, "before day-ahead market enhancements", "energy and ancillary services alone"),
        # CAISO, Day-Ahead Market Enhancements (DAME): trade date 2026-05-01 is the first with imbalance reserves up and
        # down, bought together with energy and ancillary services, which shifts the prices of all of them
        Regime(date(2026, 5, 1), "day-ahead market enhancements", "the day-ahead market also buys imbalance reserves"),
    ),
)
