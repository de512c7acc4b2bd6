"""Awards thrown at storage resources, and every limit of every owner counted: none may break.

    python -m vpp_pipeline_tests.aggregation.attacks      10,000 awards per fleet and cut (make storage-attacks)
    python -m vpp_pipeline_tests.aggregation.attacks --awards 200

Fleets of the generator (all, homes, EVs, businesses) on four market days, cut into at most 3, 10, and 17 classes.
Awards are best for prices drawn at random, smooth, or aimed at one limit in one hour, within the resource's limits or
within limits drawn inside them, each resource by itself. The check has code of its own. A control with shares 1% too
large, must break limits. Prints what was tried; exits 1 for a limit that breaks or a control that does not.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from vpp_pipeline.aggregation.boxes import Boxes
from vpp_pipeline.aggregation.offer import StorageOffer, classes_of, offer_of
from vpp_pipeline.aggregation.resources import StorageAwards
from vpp_pipeline.aggregation.storage_day import Gains, StorageDay
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRODUCTS
from vpp_pipeline.dispatch.schedule import DaySchedule
from vpp_pipeline.fleet.arrays import Fleet, fleet_arrays, reservation_price
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.settings import Settings

DAYS = (date(2023, 8, 15), date(2023, 12, 12), date(2024, 3, 10), date(2024, 11, 3))
KINDS = ("random", "smooth", "aimed")
TOLERANCE = 1e-4  # kW or kWh: a tenth of a watt
CONTROL = 1.01


@dataclass
class Figures:
    """What came of all awards."""

    awards: int = 0
    offers: int = 0
    met: int = 0  # owners and days that some award led to a limit
    broken: Counter[str] = field(default_factory=Counter)
    controls: int = 0
    controls_caught: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nothing broke but every control."""
        return not self.broken and self.controls_caught == self.controls

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.broken.items())) or "none"
        return (
            f"{self.awards} awards to {self.offers} offers; {self.met} owner-days led to a limit; "
            f"limits broken: {kinds}; "
            f"{self.controls_caught} of {self.controls} controls with shares 1% too large broke one"
        )


def day_of(market_date: date, settings: Settings, kind: str) -> tuple[Fleet, Array, Array]:
    """The generated fleet of ``kind`` on a day, its floors (3, N, T), and the forecast (3, T)."""
    tables = DayInputs(market_date, settings, None, None, None).tables()
    whole = fleet_arrays(tables["fleet.prosumers"], tables["fleet.availability"])
    segment = whole.segment.astype(str)
    chosen = {
        "all": np.ones(len(whole), dtype=bool),
        "homes": segment == "home battery",
        "EVs": segment == "home ev",
        "businesses": np.strings.startswith(segment, "business"),
    }[kind]
    fleet = whole.part(np.flatnonzero(chosen))
    of_product = [reservation_price(fleet, product, settings.negotiation)[:, None] for product in PRODUCTS]
    floor = np.stack([np.broadcast_to(one, fleet.max_charge_kw.shape) for one in of_product])
    rows = tables["market.price_forecast"].sort("start_utc")
    return fleet, floor, rows.select("energy_usd_per_mwh", "spin_usd_per_mw_h", "nonspin_usd_per_mw_h").to_numpy().T


def offer_on(fleet: Fleet, floor: Array, forecast: Array, most: int, least_mw: float) -> StorageOffer:
    """The offer of a fleet in at most ``most`` classes, everyone there."""
    certain = replace(fleet, availability_fraction=np.ones(len(fleet)))
    classes = classes_of(certain, floor, forecast[None], 1.0, most, least_mw)
    return offer_of(certain, floor, forecast, classes, 1.0)


def award(
    program: StorageDay, offer: StorageOffer, rng: np.random.Generator, kind: str, *, inside: bool
) -> StorageAwards:
    """Awards of every resource, each for money of its own; ``inside`` limits drawn within the resource's."""
    resources, hours = offer.resources, offer.resources.box.hours
    out = resources.discharge_efficiency
    rows = []
    for k in range(len(resources)):
        box = resources.box.rows[k].copy()
        spare = resources.spare_kw[k] / out[k]
        if inside:
            box[: 2 * hours] *= rng.random(2 * hours)
            spare = spare * rng.random(hours)
        program.earn(_money(rng, hours, kind))
        charge, discharge = Boxes(box[None]).charge[0].copy(), Boxes(box[None]).discharge[0][:, None].copy()
        for _ in range(2 * hours):
            program.limit(box, charge, discharge, spare)
            found = program.solve()
            sold = found.sold[:, 0]
            both = (found.bought > 1e-9) & (sold > 1e-9)
            if not both.any():
                break
            charge[both & (found.bought < sold)] = 0.0
            discharge[both & (found.bought >= sold)] = 0.0
        into = resources.charge_efficiency[k]
        rows.append(
            np.stack(
                [
                    found.bought / into,
                    found.sold[:, 0] * out[k],
                    found.spin * out[k],
                    found.nonspin * out[k],
                    found.stored,
                ]
            )
        )
    return StorageAwards(*np.moveaxis(np.stack(rows), 1, 0))


def _money(rng: np.random.Generator, hours: int, kind: str) -> Gains:
    """Prices at which some corner of the limits is best."""
    clock = np.arange(hours)
    if kind == "random":
        energy = rng.choice([-150.0, 0.0, 1000.0, 50.0], hours) + rng.normal(0.0, 100.0, hours)
        spin, nonspin = (rng.choice([0.0, 250.0], hours) * rng.random(hours) for _ in range(2))
    elif kind == "smooth":
        energy = 50.0 + 300.0 * np.sin(clock * rng.uniform(0.2, 3.2) + rng.uniform(0.0, 6.0))
        spin, nonspin = rng.uniform(-5.0, 400.0, hours), rng.uniform(-5.0, 100.0, hours)
    else:
        aim, sign = int(rng.integers(hours)), rng.choice([-1.0, 1.0])
        energy = np.where(clock <= aim, sign * 900.0, -sign * 900.0) + rng.normal(0.0, 40.0, hours)
        spin = np.where((clock == aim) & (rng.random() < 0.5), 5000.0, 0.0)
        nonspin = rng.uniform(0.0, 900.0, hours) * (rng.random() < 0.3)
    return Gains(energy, energy[:, None], spin, nonspin)


def limits(fleet: Fleet, x: DaySchedule, call_hours: float = 1.0) -> dict[str, Array]:
    """How far past each limit owners are, kW or kWh; at or below zero where it is kept."""
    into, out = fleet.charge_efficiency[:, None], fleet.discharge_efficiency[:, None]
    charge, held = x.grid_charge_kw + x.solar_charge_kw, x.spin_kw + x.nonspin_kw
    moved = np.cumsum(into * charge - x.discharge_kw / out - fleet.drive_kwh, axis=1)
    stored = fleet.initial_stored_kwh[:, None] + moved
    low_before = np.column_stack(
        [np.minimum(fleet.initial_stored_kwh, fleet.min_stored_kwh[:, 0]), fleet.min_stored_kwh[:, :-1]]
    )
    before = np.column_stack([fleet.initial_stored_kwh, stored[:, :-1]])
    exported = x.discharge_kw + x.solar_sold_kw + held
    store = fleet.has_store[:, None]
    return {
        "physics": np.where(store, np.abs(stored - x.stored_kwh), 0.0),
        "charge": charge - fleet.max_charge_kw,
        "discharge": x.discharge_kw + held - fleet.max_discharge_kw,
        "export": exported - fleet.export_limit_kw - np.maximum(fleet.load_kw - fleet.solar_kw, 0.0),
        "sun": x.solar_charge_kw + x.solar_sold_kw - np.maximum(fleet.solar_kw - fleet.load_kw, 0.0),
        "low": np.where(store, fleet.min_stored_kwh - stored, 0.0),
        "high": np.where(store, stored - fleet.max_stored_kwh, 0.0),
        "owed": np.where(store, (fleet.terminal_stored_kwh - stored[:, -1])[:, None], 0.0),
        "cycles": (x.discharge_kw / out).sum(axis=1)[:, None]
        - (fleet.maximum_cycles_per_day * fleet.capacity_kwh)[:, None],
        "backed": np.where(store, held * call_hours / out - (stored - fleet.min_stored_kwh), held),
        "backed before": np.where(store, held * call_hours / out - (before - low_before), held),
        "both ways": np.minimum(charge, x.discharge_kw),
        "below zero": -np.minimum.reduce([getattr(x, name) for name in ("grid_charge_kw", "discharge_kw", "spin_kw")]),
    }


def attack(offer: StorageOffer, awards: int, rng: np.random.Generator, figures: Figures) -> None:
    """``awards`` awards to one offer, and the control."""
    program, fleet = StorageDay(offer.resources.box.hours, 1.0), offer.fleet
    too_much = replace(offer, resources=replace(offer.resources, share=CONTROL * offer.resources.share))
    met, caught = np.zeros(len(fleet), dtype=bool), False
    for n in range(awards):
        given = award(program, offer, rng, KINDS[n % len(KINDS)], inside=n % 4 == 3)
        for kind, past in limits(fleet, offer.schedule(given)).items():
            if (past > TOLERANCE).any():
                figures.broken[kind] += int((past > TOLERANCE).sum())
            if kind in ("discharge", "low", "high", "cycles", "export"):
                met |= (np.abs(past) < 10.0 * TOLERANCE).any(axis=1) & (fleet.max_discharge_kw.max(axis=1) > 0.0)
        if not caught:
            caught = any((past > TOLERANCE).any() for past in limits(fleet, too_much.schedule(given)).values())
    figures.awards, figures.offers, figures.met = (
        figures.awards + awards,
        figures.offers + 1,
        figures.met + int(met.sum()),
    )
    figures.controls, figures.controls_caught = figures.controls + 1, figures.controls_caught + caught


def run(awards: int, cuts: tuple[int, ...], kinds: tuple[str, ...], days: tuple[date, ...], seed: int = 7) -> Figures:
    """``awards`` awards per kind of fleet and cut, spread over ``days``."""
    figures, rng, settings = Figures(), np.random.default_rng(seed), Settings()
    for kind in kinds:
        for day in days:
            fleet, floor, forecast = day_of(day, settings, kind)
            for most in cuts:
                offer = offer_on(fleet, floor, forecast, most, 0.112 if kind in ("all", "businesses") else 0.0)
                attack(offer, -(-awards // len(days)), rng, figures)
        print(f"{kind}: {figures}", flush=True)
    return figures


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--awards", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    figures = run(chosen.awards, (3, 10, 17), ("all", "homes", "EVs", "businesses"), DAYS, chosen.seed)
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
