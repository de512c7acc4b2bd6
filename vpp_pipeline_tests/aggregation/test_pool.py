"""A pool in the daily chain: its storage resources before and after deals, and classes kept from day to day."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linprog

from vpp_pipeline.aggregation.boxes import Boxes
from vpp_pipeline.aggregation.coordinator import backed_kwh, deliverable
from vpp_pipeline.aggregation.offer import StorageOffer
from vpp_pipeline.aggregation.resource_offers import bound_offer, charging_within_the_day, storage_resources
from vpp_pipeline.aggregation.resources import StorageAwards
from vpp_pipeline.core.arrays import Array
from vpp_pipeline.core.calendar import PRICE_COLUMN, PRODUCTS
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.tables import CLASSES_BEFORE, MEMBERS_BEFORE, Tables
from vpp_pipeline.fleet.arrays import Fleet, begin_with, reservation_price, starts_of
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.negotiation.opportunities import Resource, resources_of
from vpp_pipeline.pipeline import BASELINE, CLASSES, MEMBERS, aggregate, fleet_of
from vpp_pipeline.settings import MarketRules, Settings
from vpp_pipeline_tests.aggregation.attacks import TOLERANCE, Figures, attack, limits

DAY = date(2023, 8, 15)
SETTINGS = Settings.model_validate({"fleet": {"prosumers": 80}, "resources": {"participation": "storage"}})
RULES = SETTINGS.rules


@dataclass(frozen=True)
class Pooled:
    """A day whose fleet is a pool, before its deals."""

    day: Tables
    fleet: Fleet
    resources: list[Resource]
    forecast: Array

    def floor(self, fleet: Fleet) -> Array:
        """What owners ask (3, n, T), all of whom have deals."""
        asked = [reservation_price(fleet, product, SETTINGS.negotiation) for product in PRODUCTS]
        return np.broadcast_to(np.stack(asked)[:, :, None], (len(asked), *fleet.load_kw.shape)).copy()

    def members(self, resource: Resource) -> Fleet:
        return self.fleet.part(np.flatnonzero(self.fleet.resource_id == resource.resource_id))

    def offer(self, resource: Resource, floor: Array | None = None, rules: MarketRules = RULES) -> StorageOffer:
        fleet = self.members(resource)
        may = np.ones((len(PRODUCTS), fleet.load_kw.shape[1]), dtype=bool)
        asked = self.floor(fleet) if floor is None else floor
        return bound_offer(resource, fleet, self.day, asked, may, self.forecast, rules)[0]


def pooled(day: Tables, rules: MarketRules = RULES) -> Pooled:
    fleet = begin_with(fleet_of(day), starts_of(day["fleet.prosumers"], None))
    forecast = np.stack([day["market.price_forecast"][column].to_numpy() for column in PRICE_COLUMN.values()])
    return Pooled(day, fleet, storage_resources(resources_of(day["market.resources"]), day, fleet, rules), forecast)


@pytest.fixture(scope="module")
def pool() -> Pooled:
    return pooled(DayInputs(DAY, SETTINGS, None, None, None).tables())


def test_every_owner_is_in_one_storage_resource_and_shares_add_up(pool: Pooled):
    members = pool.day[MEMBERS]
    assert members["prosumer_id"].sort().equals(pool.day["fleet.prosumers"]["prosumer_id"].sort())
    sums = members.group_by("resource_id").agg(pl.col("share_fraction").sum())["share_fraction"]
    assert np.allclose(sums.to_numpy(), 1.0)
    assert set(members["resource_id"]) == {one.resource_id for one in pool.resources}
    assert 1 < len(pool.resources) <= 17


def test_an_opportunity_asks_for_all_that_a_resource_offers_before_deals(pool: Pooled):
    calls = pool.day["market.opportunities"]
    for resource in pool.resources:
        assert resource.offers_mw is not None
        for product, offered_mw in resource.offers_mw.items():
            rows = calls.filter(resource_id=resource.resource_id, product=product).sort("start_utc")
            assert np.allclose(rows["required_capacity_mw"], offered_mw)
    assert (calls["participation"] == "storage").all()


def test_with_all_deals_a_resource_offers_its_whole_r(pool: Pooled):
    for resource in pool.resources:
        assert resource.offers_mw is not None
        assert np.allclose(pool.offer(resource).offered_mw, np.stack(list(resource.offers_mw.values())), atol=1e-9)


def test_no_award_of_the_daily_chain_breaks_a_limit_and_each_control_does(pool: Pooled):
    figures, rng = Figures(), np.random.default_rng(3)
    for resource in pool.resources:
        offer = pool.offer(resource)
        attack(replace(offer, call_hours=RULES.backing_hours), 12, rng, figures)
    assert not figures.broken
    assert figures.controls_caught > 0


def test_a_member_without_a_deal_is_left_out_and_80_percent_of_r_decide(pool: Pooled):
    resource = max(pool.resources, key=lambda one: len(pool.members(one)))
    fleet = pool.members(resource)
    share = pool.day[MEMBERS].filter(resource_id=resource.resource_id).sort("prosumer_id")["share_fraction"].to_numpy()
    small = int(np.argmin(np.where(share > 0.0, share, np.inf)))
    hour = int(pool.offer(resource).offered_mw[0].argmax())
    without = pool.floor(fleet)
    without[0, small, hour] = np.inf
    found = pool.offer(resource, without)
    assert found.resources.share[small] == 0.0
    expected = (1.0 - share[small]) * pool.offer(resource).resources.box.discharge
    assert np.allclose(found.resources.box.discharge[expected > 0.05], expected[expected > 0.05], rtol=0.05)
    without[:, share < share.max(), :] = np.inf
    if share.max() < RULES.required_fraction:
        assert not pool.offer(resource, without).offered_mw.any()


def test_certification_and_pmax_are_shared_out_and_hold(pool: Pooled):
    limited = Resource("vpp", "storage", minimum_mw=-0.5, maximum_mw=0.8, certified_mw={"spin": 0.4, "nonspin": 0.0})
    found = storage_resources([limited], pool.day, pool.fleet, RULES)
    offers = [pool.offer(one) for one in found]
    assert sum(one.certified_mw["spin"] for one in found) <= 0.4 + 1e-9
    assert np.sum([one.offered_mw[1].max() for one in offers]) <= 0.4 + 1e-9
    assert not any(one.offered_mw[2].any() for one in offers)
    most = [one.self_schedule_kw + one.resources.max_discharge_kw[0] + one.resources.spare_kw[0] for one in offers]
    assert (np.sum(most, axis=0) <= 800.0 + 1e-6).all()
    assert (np.sum([one.resources.max_charge_kw[0] for one in offers], axis=0) <= 500.0 + 1e-6).all()


def dearest_award(offer: StorageOffer, price: Array, rules: MarketRules) -> tuple[Array, Array]:
    """Discharge and stored energy (T,) that a market at ``price`` awards a resource of the limits that it takes: by the
    hour or one range, of the day or none."""
    box = offer.resources.box
    sold = offer.bids.discharge_kw[0].sum(axis=1) / offer.resources.discharge_efficiency
    hours, path = box.hours, np.tril(np.ones((box.hours, box.hours)))
    low, high = (
        one[0] if rules.storage_limits_by_hour else np.full(hours, one.max()) for one in (box.below, box.above)
    )
    if rules.storage_limits_by_hour:
        low = np.append(low[:-1], min(low[-1], box.last[0]))
    stored = np.hstack([path, -path])
    rows, limits = [stored, -stored], [high, low]
    if rules.storage_limit_of_day:
        rows.append(np.append(np.zeros(hours), np.ones(hours))[None])
        limits.append(box.cycles)
    bounds = [(0.0, kwh) for kwh in (*box.charge[0], *sold)]
    cost = np.append(1.02 * price, -0.98 * price)
    found = linprog(cost, A_ub=np.vstack(rows), b_ub=np.concatenate(limits), bounds=bounds)
    assert found.success
    charge, discharge = np.split(found.x, 2)
    return discharge, np.cumsum(charge - discharge)


@pytest.mark.parametrize(("by_hour", "of_day"), [(False, True), (True, False), (False, False)])
def test_limits_that_the_market_does_not_take_hold_by_themselves(pool: Pooled, by_hour: bool, of_day: bool):
    """At wild prices no award breaks a limit of an hour or of the day; with offers of the other kind some do."""
    own = {"storage_limits_by_hour": by_hour, "storage_limit_of_day": of_day}
    rules, takes_all = (
        RULES.model_copy(update=own),
        RULES.model_copy(update={"storage_limits_by_hour": True, "storage_limit_of_day": True}),
    )
    rng = np.random.default_rng(7)
    broken = {"offered so": 0, "offered otherwise": 0}
    pools = resources_of(pool.day["market.resources"])
    of_each = (storage_resources(pools, pool.day, pool.fleet, one) for one in (rules, takes_all))
    for resource, full in zip(*of_each, strict=True):
        otherwise = pool.offer(full, rules=takes_all)
        kept = otherwise.resources.box
        offers = {"offered so": pool.offer(resource, rules=rules), "offered otherwise": otherwise}
        for price in rng.normal(50.0, 80.0, (6, kept.hours)):
            for how, offer in offers.items():
                discharge, stored = dearest_award(offer, price, rules)
                over_kwh = [
                    (-kept.below[0] - stored).max(),
                    (stored - kept.above[0]).max(),
                    -kept.last[0] - stored[-1],
                    discharge.sum() - kept.cycles[0],
                ]
                broken[how] += max(over_kwh) > 1e-6
    assert broken["offered so"] == 0
    assert broken["offered otherwise"] > 0


@pytest.fixture(scope="module")
def below_zero(pool: Pooled) -> Pooled:
    """The same pool on a day whose forecast is below zero at noon."""
    rows = pool.day["market.price_forecast"]
    is_noon = pl.int_range(pl.len()).is_between(9, 15)
    energy = pl.when(is_noon).then(-20.0 + pl.int_range(pl.len())).otherwise("energy_usd_per_mwh")
    day = {**pool.day, "market.price_forecast": rows.with_columns(energy_usd_per_mwh=energy)}
    return pooled(day | aggregate(day, SETTINGS))


def test_at_prices_below_zero_more_charging_is_open_than_the_day_may_discharge(below_zero: Pooled) -> None:
    """No award discharges more than the day may; if energy were sold in the hours that charge, some would."""
    rng, wider, broken = np.random.default_rng(5), 0, {"offered so": 0, "sold in hours that charge": 0}
    alone = below_zero.forecast[0] <= 0.0
    for resource in below_zero.resources:
        offer = below_zero.offer(resource)
        box = offer.resources.box
        assert not offer.bids.discharge_kw[0, alone & (box.charge[0] > 0.0)].any()
        wider += box.charge.sum() > box.cycles[0] + 1e-6
        most_kw = offer.resources.max_discharge_kw[:, :, None]
        offers = {"offered so": offer}
        offers["sold in hours that charge"] = replace(offer, bids=replace(offer.bids, discharge_kw=most_kw))
        for price in [50.0 * (-1.0) ** np.arange(box.hours), *rng.normal(20.0, 80.0, (6, box.hours))]:
            for how, one in offers.items():
                discharge, _ = dearest_award(one, price, RULES)
                broken[how] += discharge.sum() > box.cycles[0] + 1e-6
    assert wider > 0
    assert broken["offered so"] == 0
    assert broken["sold in hours that charge"] > 0


def test_no_award_breaks_a_limit_where_more_charging_is_open(below_zero: Pooled) -> None:
    figures, rng = Figures(), np.random.default_rng(3)
    for resource in below_zero.resources:
        attack(below_zero.offer(resource), 12, rng, figures)
    assert not figures.broken
    assert figures.controls_caught > 0


@pytest.mark.parametrize(
    ("prices", "open_kwh"),
    [
        ([-10.0, -20.0, -30.0, 50.0], [2.0, 2.0, 2.0, 0.0]),  # three hours with room for 2 kWh, sold in the fourth
        ([10.0, 20.0, 30.0, 50.0], [2.0, 0.0, 0.0, 0.0]),  # the second could be charged after a sale in between
        ([-10.0, 20.0, 30.0, 50.0], [2.0, 0.0, 0.0, 0.0]),
    ],
)
def test_charging_is_open_as_far_as_the_day_may_discharge(prices: list[float], open_kwh: list[float]) -> None:
    """By hand: 2 kWh an hour either way, room for 2 kWh, and 2 kWh that the day may discharge."""
    each = np.full(4, 2.0)
    box = Boxes(np.concatenate([[*each[:3], 0.0], each, np.zeros(4), each, [0.0, 0.0, 2.0]])[None])
    assert charging_within_the_day(box, np.array(prices)) == pytest.approx(np.array(open_kwh))


def some_awards(offer: StorageOffer, rng: np.random.Generator) -> StorageAwards:
    """All charging, and of discharge and reserve as much as each hour by itself may be awarded, all or nothing or a
    part of it."""
    resources, sold_kw = offer.resources, offer.bids.discharge_kw.sum(axis=2)
    into, out = resources.charge_efficiency[:, None], resources.discharge_efficiency[:, None]

    def part(most_kw: Array) -> Array:
        return most_kw * np.clip(rng.uniform(-0.5, 1.5, most_kw.shape), 0.0, 1.0)

    discharge_kw, charge_kw = part(sold_kw), resources.max_charge_kw
    room_kw = np.maximum(resources.max_discharge_kw, sold_kw) + resources.spare_kw - discharge_kw
    nonspin_kw = part(np.minimum(offer.bids.reserve_kw[1], room_kw))
    spin_kw = part(np.minimum(offer.bids.reserve_kw[0], room_kw - nonspin_kw))
    stored_kwh = np.cumsum(into * charge_kw - discharge_kw / out, axis=1)
    return StorageAwards(charge_kw, discharge_kw, spin_kw, nonspin_kw, stored_kwh)


def test_any_awards_can_be_delivered_where_the_coordinator_keeps_the_state_of_charge() -> None:
    """Each hour by itself, and no limit of an owner breaks; of offers to a market that keeps it, limits do."""
    rng, broken, sold = np.random.default_rng(11), {"coordinator": 0, "market": 0}, 0.0
    for keeper in broken:
        groups = SETTINGS.model_dump() | {"rules": {"storage_kept_by": keeper}}
        settings = Settings.model_validate(groups)
        kept = pooled(DayInputs(DAY, settings, None, None, None).tables(), settings.rules)
        for resource in kept.resources:
            offer = kept.offer(resource, rules=settings.rules)
            sold += float(offer.bids.discharge_kw.sum()) if keeper == "coordinator" else 0.0
            for _ in range(60):
                past = limits(offer.fleet, offer.schedule(some_awards(offer, rng)), settings.rules.backing_hours)
                broken[keeper] += sum(int((of > TOLERANCE).sum()) for of in past.values())
    assert broken["coordinator"] == 0
    assert broken["market"] > 0
    assert sold > 100.0


def test_discharge_is_cut_to_what_is_left_after_all_of_it() -> None:
    """By hand: 2 kWh in the store, 1 kWh more by hour 2, of which the day must keep 1.5; 3 kWh are asked for."""
    box = Boxes(np.array([[*(0.0, 1.0, 0.0), *(1.0, 0.0, 2.0), *(2.0, 2.0, 2.0), *(9.0, 9.0, 9.0), 2.0, 0.5, 9.0]]))
    assert deliverable(box.charge, box.discharge, box).tolist() == [[1.0, 0.0, 0.5]]
    assert backed_kwh(box.charge, box.discharge, box).tolist() == [[1.0, 1.0, 0.0]]


def test_classes_are_kept_while_hardly_an_owner_comes_or_goes(pool: Pooled):
    day = {name: rows for name, rows in pool.day.items() if name not in (CLASSES, MEMBERS, BASELINE)}
    before = {CLASSES_BEFORE: pool.day[CLASSES], MEMBERS_BEFORE: pool.day[MEMBERS]}
    ids = pool.day["fleet.prosumers"]["prosumer_id"]

    def made_again(kept: pl.Series) -> Tables:
        part = {
            name: rows.filter(pl.col("prosumer_id").is_in(kept.implode()))
            for name, rows in before.items()
            if "prosumer_id" in rows.columns
        }
        return aggregate({**day, **before, **part}, SETTINGS)

    same, few, many = made_again(ids), made_again(ids[4:]), made_again(ids[30:])
    version = pool.day[CLASSES]["version"][0]
    assert set(same[CLASSES]["version"]) == set(few[CLASSES]["version"]) == {version}
    assert same[MEMBERS].equals(pool.day[MEMBERS])
    assert few[MEMBERS]["prosumer_id"].sort().equals(ids.sort())  # the new ones have joined a class
    assert many[CLASSES]["version"][0] == version  # made anew of the same fleet and forecast: the same classes
    later = {
        **day,
        "market.price_forecast": day["market.price_forecast"].with_columns(pl.col("energy_usd_per_mwh") * 3),
    }
    assert set(aggregate({**later, **before}, SETTINGS)[CLASSES]["version"]) == {version}
    fewer = SETTINGS.model_copy(update={"resources": SETTINGS.resources.model_copy(update={"storage_classes": 2})})
    assert aggregate({**day, **before}, fewer)[CLASSES]["resource_id"].n_unique() <= 2


def test_a_pool_too_small_for_the_market_offers_nothing_and_says_why():
    settings = Settings.model_validate(
        {"fleet": {"prosumers": 6, "business_sites": 0}, "resources": {"participation": "storage"}}
    )
    day = DayInputs(DAY, settings, None, None, None).tables()
    calls = day["market.opportunities"]
    assert calls["resource_id"].unique().to_list() == ["vpp"]
    assert calls["closed_reason"].is_not_null().all()
    assert "the minimum is 0.1 MW" in calls["closed_reason"][0]


def test_requests_are_not_served_by_storage(pool: Pooled):
    aside = pool.day["market.request_quarantine"]
    assert (pool.day["market.opportunities"]["origin"] == "policy").all()
    assert aside.height == 0 or aside["problem"].str.contains("is bid as storage").any()


def test_a_resource_of_the_file_may_not_have_the_name_of_a_class(pool: Pooled):
    rows = pool.day["market.resources"]
    other = rows.with_columns(resource_id=pl.lit(pool.resources[0].resource_id), participation=pl.lit("hourly"))
    with pytest.raises(InputError, match="name of a class"):
        aggregate({**pool.day, "market.resources": pl.concat([rows, other])}, SETTINGS)


def test_no_rows_where_none_takes_part_as_storage(pool: Pooled):
    rows = pool.day["market.resources"].with_columns(participation=pl.lit("hourly"))
    tables = aggregate({**pool.day, "market.resources": rows}, SETTINGS)
    assert all(table.is_empty() for table in tables.values())


def test_a_class_that_holds_reserve_alone_keeps_its_part_of_the_limits_of_its_pool(pool: Pooled):
    """Such a class has no box: what its owners hold is beyond it."""
    name = max(pool.resources, key=lambda one: one.size_mw).resource_id
    mine = pool.day[MEMBERS].filter(resource_id=name)["prosumer_id"]
    is_class, is_member = pl.col("resource_id") == name, pl.col("prosumer_id").is_in(mine.implode())
    alone = pool.day[CLASSES].with_columns(limit_kwh=pl.when(~is_class).then("limit_kwh").otherwise(0.0))
    spare_kw = pl.when(~is_member).then("spare_reserve_kw").otherwise(10.0)
    baseline = pool.day["fleet.baseline"].with_columns(spare_reserve_kw=spare_kw)
    share = pl.when(~is_class).then("share_fraction").otherwise(0.0)
    members = pool.day[MEMBERS].with_columns(share_fraction=share)
    day = {**pool.day, CLASSES: alone, MEMBERS: members, "fleet.baseline": baseline}
    whole = Resource("vpp", "storage")
    for limited in (whole, replace(whole, certified_mw={"spin": 0.5, "nonspin": 0.5})):
        found = {one.resource_id: one for one in storage_resources([limited], day, pool.fleet, RULES)}
        assert found[name].offers_mw is not None
        assert found[name].offers_mw["energy"].max() == 0.0
        assert found[name].offers_mw["spin"].min() > 0.0
        certified = [one.certified_mw.get("spin", np.inf) for one in found.values()]
        assert sum(certified) == np.inf or 0.45 < sum(certified) <= 0.5
