"""How the day was solved, and what it pays."""

from __future__ import annotations

import dataframely as dy

from vpp_pipeline.schemas.columns import (
    OPPORTUNITY,
    PROSUMER,
    START,
    amount,
    column,
    count,
    market_day,
    moment,
    number,
    price,
    text,
)


class Schedule(dy.Schema):
    """What every prosumer does in every hour if all bids are awarded."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    grid_charge_kw = amount("Charging from the grid.")
    solar_charge_kw = amount("Charging from the prosumer's own solar.")
    charge_kw = amount("All charging.")
    discharge_kw = amount("Discharge to the grid.")
    solar_sold_kw = amount("Own solar sold.")
    spin_kw = amount("Held as spinning reserve.")
    nonspin_kw = amount("Held as non-spinning reserve.")
    stored_kwh = amount("Stored energy at the end of the hour.")
    stored_value_usd_per_mwh = number("What one more stored MWh at the end of the hour is worth to the day (a dual).")


class Starts(dy.Schema):
    """The stored energy that each prosumer begins the day with, and where that number comes from."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    initial_stored_kwh = amount("Stored energy when the market day begins.")
    carried_from = column(
        dy.Date, "Market day whose schedule it ends; empty: as `fleet.prosumers` says.", nullable=True
    )


class Positions(dy.Schema):
    """What the optimiser decided for each opportunity."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    is_bid = column(dy.Bool, "Bid or no bid.")
    quantity_mw = amount("MW sold throughout the block.")
    shadow_price_usd_per_mwh = number(
        "What one more MW at the bid's largest (or, negative, least) quantity would earn per hour (a dual)."
    )


class Payments(dy.Schema):
    """What each prosumer delivers and earns in each opportunity that trades."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    dispatched_kw = amount("Mean power delivered or held over the block.")
    dispatched_kwh = amount("Power times hours.")
    agreed_price_usd_per_mwh = price("Agreed price.")
    payment_usd = number("Agreed price times energy (or capacity held).")
    charging_cost_usd = number("Charging to be recovered from this bid.")
    satisfaction_score = number("Satisfaction with the outcome, 0-10.", min=0.0, max=10.0)


class Reconciliation(dy.Schema):
    """The day's money, added up: bid profits plus what no bid carries equal the optimiser's objective."""

    market_date = market_day(primary_key=True)
    sum_bid_profit_usd = number("Sum of expected_profit_usd over the day's bids.")
    unallocated_usd = number("Profit (or cost) of charging that no bid carries, and the rounding of bids to cents.")
    rounding_usd = number("Part of unallocated_usd that is the rounding of bids to cents.")
    satisfaction_term_usd = number("Weight on satisfaction in the objective; no money changes hands for it.")
    no_sale_value_usd = number("Value of the day with no bids: minus the cost of charging that owners need anyway.")
    objective_usd = number("The optimiser's objective.")


class Charging(dy.Schema):
    """What each prosumer's charging from the market costs, and how much of it its sales must recover."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    charging_usd = number("Charging bought at the market price, outside hours in which the fleet sells energy.")
    no_sale_charging_usd = number("Cheapest charging that meets the owner's limits with no sales.")
    to_recover_usd = number("The difference: charging that the sales have caused (or saved).")


class Proof(dy.Schema):
    """How the day was solved, and how far the answer can be from the best there is."""

    market_date = market_day(primary_key=True)
    method = text("Which method gave the schedule; fallbacks are named.")
    solver = text("Solver.")
    status = text("What the solver said.")
    objective_usd = number("Objective of the schedule.")
    bound_usd = number("No schedule can do better than this.")
    gap_fraction = amount("(bound - objective) / |bound|.")
    seconds = amount("Time to solve.")
    prosumers = count("Prosumers in the problem.")
    hours = count("Hours in the problem.")
    bids = count("Opportunities that trade.")
