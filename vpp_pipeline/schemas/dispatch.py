"""Tables of dispatch: schedule, positions, payments, and the dual bound."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    OPPORTUNITY,
    PROSUMER,
    START,
    amount,
    column,
    count,
    fraction,
    market_day,
    moment,
    number,
    price,
    text,
)


class FleetHours(dy.Schema):
    """Dispatch of every prosumer in every hour; the columns of two tables."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    grid_charge_kw = amount("Charging from the grid.")
    solar_charge_kw = amount("Charging from the prosumer's own solar.")
    charge_kw = amount("Charging from grid and solar.")
    discharge_kw = amount("Discharge to the grid.")
    solar_sold_kw = amount("Own solar that is sold.")
    spin_kw = amount("Capacity held as spinning reserve.")
    nonspin_kw = amount("Capacity held as non-spinning reserve.")
    stored_kwh = amount("State of charge at the end of the hour.")


class Schedule(FleetHours):
    """Schedule of every prosumer and hour if all bids are awarded."""

    stored_value_usd_per_mwh = number("Value to the day of one more stored MWh at the end of the hour (a dual).")


class Starts(dy.Schema):
    """Initial state of charge of each prosumer, and its source."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    initial_stored_kwh = amount("Initial state of charge, when the market day begins.")
    carried_from = column(
        dy.Date, "Market day whose last state of charge it is; null: that of `fleet.prosumers`.", nullable=True
    )


class Infeasibilities(dy.Schema):
    """Limits that no schedule can keep, and by how much: why the day's latest run stopped; no rows if it did not.

    The smallest violations of each prosumer, without any bids. Bids of the same day, if any, are of an earlier run.
    """

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    limit_name = text("Column of `fleet.availability` or `fleet.prosumers` that cannot be kept.", primary_key=True)
    shortfall_kwh = amount(
        "Energy by which the state of charge at the end of the hour (or the driving) misses the limit."
    )
    remedy = text("What to do about it.")


class Positions(dy.Schema):
    """Position of each opportunity in the schedule."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    is_bid = column(dy.Bool, "Whether the opportunity is bid.")
    quantity_mw = amount("Capacity sold throughout the block; of a storage resource, what it offers.")
    expected_mw = number(
        "MW expected to clear at the forecast, negative where a storage resource charges; null for old days.",
        nullable=True,
    )
    shadow_price_usd_per_mwh = number(
        "Profit per hour of one more MW at the bid's largest (or, if negative, smallest) quantity (a dual)."
    )
    refusal = text(
        "Why the market would refuse the bid, so that the day was solved again without it; null otherwise.",
        nullable=True,
    )


class StorageResources(dy.Schema):
    """Storage resources as they are bid: limits of the day and efficiencies, of the members with deals.

    A call of its reserve, or any award within its limits, keeps every limit of its members (docs/method.md, 11b).
    """

    market_date = market_day(primary_key=True)
    resource_id = text("Storage resource, of `fleet.storage_classes`.", primary_key=True)
    pool_id = text("Resource of `market.resources` that it is cut from.")
    members = count("Number of its members.")
    bound_members = count("Members with a deal for all that their part asks of them; the others only charge.")
    charge_efficiency = fraction("Stored energy over energy charged at the meter.")
    discharge_efficiency = fraction("Energy discharged at the meter over stored energy.")
    initial_stored_mwh = amount("Initial state of charge, of which 0 is the lowest that any hour allows.")
    first_backing_mwh = amount("Stored energy that backs reserve of the first hour.")
    final_stored_mwh = number("Least state of charge at the day's end.")
    daily_discharge_mwh = amount("Most that leaves the store in the day: the owners' cycles.")
    certified_spin_mw = amount("MW of spinning reserve that it may offer in an hour.")
    certified_nonspin_mw = amount("MW of non-spinning reserve that it may offer in an hour.")
    call_hours = amount("Hours for which reserve can be held when it is called.")


class StorageShares(dy.Schema):
    """Part that each member has in its storage resource once deals are struck."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    resource_id = text("Storage resource that it belongs to.")
    is_bound = column(dy.Bool, "Whether it has a deal for all that its part may be asked for; others only charge.")
    share_fraction = fraction("Part of the resource's stored energy that it gives.")


class StorageLimits(dy.Schema):
    """Limits and bid prices of each storage resource in each hour, its self-schedule, and its owners' own charging."""

    market_date = market_day(primary_key=True)
    resource_id = text("Storage resource, of `fleet.storage_classes`.", primary_key=True)
    start_utc = moment(START, primary_key=True)
    self_schedule_mw = amount("Own solar of its members that is sold, whatever the price.")
    own_charging_mw = amount("Charging that its members need in any case; load, not part of its bids.")
    max_charge_mw = amount("Most that it charges beyond the self-schedule.")
    max_discharge_mw = amount("Most that it discharges beyond the self-schedule.")
    reserve_beyond_mw = amount("Reserve that its members hold beyond that power, each for itself.")
    lowest_stored_mwh = number("Lowest state of charge at the end of the hour.")
    highest_stored_mwh = number("Highest state of charge at the end of the hour.")
    charge_price_usd_per_mwh = price("Most that it pays for charging, apart from what the energy earns later.")
    discharge_price_usd_per_mwh = price("Mean call price of its members; null: not offered.", nullable=True)
    spin_usd_per_mw_h = price("The same for spinning reserve; null: not offered.", nullable=True)
    nonspin_usd_per_mw_h = price("The same for non-spinning reserve; null: not offered.", nullable=True)


class StoragePlan(dy.Schema):
    """Award of each storage resource in each hour if the forecast clears, with its state of charge."""

    market_date = market_day(primary_key=True)
    resource_id = text("Storage resource, of `fleet.storage_classes`.", primary_key=True)
    start_utc = moment(START, primary_key=True)
    charge_mw = amount("Charging awarded beyond the self-schedule.")
    discharge_mw = amount("Discharge awarded beyond the self-schedule.")
    spin_mw = amount("Spinning reserve awarded, beside energy.")
    nonspin_mw = amount("Non-spinning reserve awarded, beside energy.")
    stored_mwh = number("State of charge at the end of the hour.")
    stored_value_usd_per_mwh = number("Value of one more stored MWh at the end of the hour (a dual).")


class Payments(dy.Schema):
    """Deliveries and payments of each prosumer in each bid."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    dispatched_kw = amount("Mean power delivered or held over the block.")
    dispatched_kwh = amount("Mean power times hours.")
    agreed_price_usd_per_mwh = price("Price that is paid at the forecast.")
    call_price_usd_per_mwh = price("Price for which it is called, charging aside: the floor of its deal.")
    payment_usd = number("Agreed price times energy (or capacity held).")
    charging_cost_usd = number("Charging cost to be recovered from this bid.")
    satisfaction_score = number("Satisfaction with the outcome, 0-10.", min=0.0, max=10.0)


class InternalPrices(dy.Schema):
    """Value to the day of one more MWh (or MW held for an hour) from any prosumer of a resource, by hour (duals)."""

    market_date = market_day()
    start_utc = moment(START, primary_key=True)
    resource_id = text("Resource that the prosumer belongs to.", primary_key=True)
    sell_usd_per_mwh = number("Value of exported energy; null where no energy is bid.", nullable=True)
    buy_usd_per_mwh = number("Cost of energy charged: the resource's own where energy is bid, else the market's.")
    spin_usd_per_mw_h = number("Value of spinning reserve held.")
    nonspin_usd_per_mw_h = number("Value of non-spinning reserve held.")


class OwenShares(dy.Schema):
    """Contribution of each prosumer to the day at internal prices, and its top-up beyond agreed prices.

    No rows where owners are paid the agreed price alone (`payments.rule` = agreed). Top-ups are one fraction of every
    share: all of it, or what the day's profit less the minimum margin allows; no owner is paid less than agreed. The
    three sources are those of the schedule; the share is that of the prosumer's best day, which the bid step can keep
    from being scheduled to the last kWh, and counts the credit for satisfaction where there is one.
    """

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    from_energy_usd = number("Energy sold, at internal prices less the agreed price.")
    from_reserve_usd = number("Reserve held, at internal prices less the agreed price.")
    from_charging_usd = number("Cost of its charging without sales, less its cost at internal prices.")
    owen_share_usd = number(
        "Contribution to the day beyond the agreed payments; negative where it uses energy that others could sell."
    )
    top_up_usd = amount("Payment for the day beyond the agreed payments.")


class Reconciliation(dy.Schema):
    """Reconciliation of the day's money: bid profits plus the unallocated amount equal the objective."""

    market_date = market_day(primary_key=True)
    sum_bid_profit_usd = number("Sum of expected_profit_usd over the day's bids.")
    unallocated_usd = number(
        "Profit (or cost) of charging that is allocated to no bid, and the rounding of bids to cents."
    )
    rounding_usd = number("Part of unallocated_usd that is the rounding of bids to cents.")
    satisfaction_term_usd = number("Weight on satisfaction in the objective; it is not paid.")
    premium_usd = number("Payments at the forecast beyond call prices, which the objective does not count.")
    no_sale_value_usd = number(
        "Value of the day with no bids: minus the cost of charging that owners need without any sales."
    )
    objective_usd = number("Objective of the optimization: expected profit of the schedule.")
    top_ups_usd = amount("Payments to prosumers from the profit, beyond agreed prices; allocated to no bid.")
    kept_profit_usd = number("Profit of the aggregator: bid profits + unallocated - top-ups.")


class Charging(dy.Schema):
    """Charging cost of each prosumer from the market, and the part that its sales must recover."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    charging_usd = number("Charging bought at the market price, outside hours in which its resource sells energy.")
    no_sale_charging_usd = number("Cost of the cheapest charging that keeps the owner's limits without sales.")
    to_recover_usd = number("Charging cost less that without sales: what the sales caused (or saved).")


class ScenarioQuantities(dy.Schema):
    """Most profitable quantity of each energy bid at the prices of each scenario: the basis of bid curves.

    No rows where a day is solved for its forecast alone (`risk.scenarios` = 1).
    """

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    scenario = column(dy.Int32, "Number of the scenario; 0 is the forecast.", min=0, primary_key=True)
    price_usd_per_mwh = price("Price of the opportunity in the scenario.")
    quantity_mw = amount("Most profitable MW at the scenario's prices, up to the bid's.")


class Proof(dy.Schema):
    """Method, result, and dual bound of the day's optimization."""

    market_date = market_day(primary_key=True)
    method = text("Method that found the schedule; fallbacks are named.")
    solver = text("Name of the LP solver.")
    status = text("Status that the solver returned.")
    objective_usd = number("Expected profit of the schedule at forecast prices, with all prosumers available.")
    risk_adjusted_usd = number("Maximized value: (1 - aversion) x objective + aversion x CVaR.")
    bound_usd = number("Dual bound: no schedule of bids within the market's limits has a larger risk_adjusted_usd.")
    no_bid_usd = number(
        "Value of risk_adjusted_usd for the best schedule without bids; null for old days.", nullable=True
    )
    gap_fraction = amount(
        "Share of what bidding could add that may be missing: (bound - risk_adjusted) / (bound - no_bid)."
    )
    scenarios = count("Number of scenarios that the schedule is solved for; 1 is the forecast alone.")
    aversion = fraction("Weight of the CVaR in the maximized value.")
    cvar_usd = number("Mean profit over the worst scenarios (CVaR); null without scenarios.", nullable=True)
    worst_usd = number("Profit in the worst scenario; null without scenarios.", nullable=True)
    mean_usd = number(
        "Mean profit over the scenarios: the objective less the cost of unavailable prosumers; null without scenarios.",
        nullable=True,
    )
    seconds = amount("Time to solve the day.")
    prosumers = count("Number of prosumers in the problem.")
    hours = count("Number of hours in the problem.")
    bids = count("Number of opportunities that are bid.")
    formulation = text("Formulation that a language model proposed, as JSON; null without one.", nullable=True)
    formulation_verdict = text("Whether the proposal was accepted, and why; null without one.", nullable=True)
    plain_profit_usd = number("Expected profit of the desk's own formulation; null without a proposal.", nullable=True)
    formulated_profit_usd = number(
        "Expected profit of the schedule by the proposal's weights; null without one.", nullable=True
    )
    plain_objective_usd = number("Objective of the desk's own formulation; null without a proposal.", nullable=True)
    formulated_objective_usd = number(
        "Objective of the proposed formulation, in its own terms; null without one.", nullable=True
    )
