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
    fraction,
    market_day,
    moment,
    number,
    price,
    text,
)


class FleetHours(dy.Schema):
    """What every prosumer does in every hour; no table by itself."""

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


class Schedule(FleetHours):
    """What every prosumer does in every hour if all bids are awarded."""

    stored_value_usd_per_mwh = number("What one more stored MWh at the end of the hour is worth to the day (a dual).")


class Starts(dy.Schema):
    """The stored energy that each prosumer begins the day with, and where that number comes from."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    initial_stored_kwh = amount("Stored energy when the market day begins.")
    carried_from = column(
        dy.Date, "Market day whose schedule it ends; empty: as `fleet.prosumers` says.", nullable=True
    )


class Infeasibilities(dy.Schema):
    """Limits that no schedule can keep, and by how much: why the day's latest run stopped; empty if it did not.

    Each prosumer's smallest breaches, with no bids at all. Bids of the same day, if any, are of an earlier run.
    """

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    start_utc = moment(START, primary_key=True)
    limit_name = text("Column of `fleet.availability` or `fleet.prosumers` that cannot be kept.", primary_key=True)
    shortfall_kwh = amount("How far the stored energy at the hour's end (or the energy driven) misses it.")
    remedy = text("What can be done.")


class Positions(dy.Schema):
    """What the optimiser decided for each opportunity."""

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    is_bid = column(dy.Bool, "Bid or no bid.")
    quantity_mw = amount("MW sold throughout the block.")
    shadow_price_usd_per_mwh = number(
        "What one more MW at the bid's largest (or, negative, least) quantity would earn per hour (a dual)."
    )
    refusal = text(
        "Why the market would not take its bid, so that the day was solved again without it; empty otherwise.",
        nullable=True,
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


class InternalPrices(dy.Schema):
    """What one more MWh (or MW held for an hour) from any prosumer is worth to the day, hour by hour (duals)."""

    market_date = market_day()
    start_utc = moment(START, primary_key=True)
    sell_usd_per_mwh = number("Worth of exported energy; empty where no energy is bid.", nullable=True)
    buy_usd_per_mwh = number("Cost of energy charged: the fleet's own where energy is bid, else the market's.")
    spin_usd_per_mw_h = number("Worth of spinning reserve held.")
    nonspin_usd_per_mw_h = number("Worth of non-spinning reserve held.")


class OwenShares(dy.Schema):
    """What each prosumer adds to the day at its internal prices, and what it is paid of that beyond agreed prices.

    Empty where owners are paid the agreed price alone (`payments.rule` = agreed). Top-ups are the same part of every
    share: all of it, or what the day's profit less the minimum margin allows; nobody is paid less than agreed. The
    three sources are those of the schedule; the share is that of the prosumer's best day, which the bid step can keep
    from being scheduled to the last kWh, and counts the credit for satisfaction where there is one.
    """

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    from_energy_usd = number("Energy sold, at internal prices less the agreed price.")
    from_reserve_usd = number("Reserve held, at internal prices less the agreed price.")
    from_charging_usd = number("What its charging would cost with no sales, less what it costs at internal prices.")
    owen_share_usd = number(
        "What it adds to the day beyond its agreed payments; negative: it takes energy others sell."
    )
    top_up_usd = amount("Paid to it for the day, beyond its agreed payments.")


class Reconciliation(dy.Schema):
    """The day's money, added up: bid profits plus what no bid carries equal the optimiser's objective."""

    market_date = market_day(primary_key=True)
    sum_bid_profit_usd = number("Sum of expected_profit_usd over the day's bids.")
    unallocated_usd = number("Profit (or cost) of charging that no bid carries, and the rounding of bids to cents.")
    rounding_usd = number("Part of unallocated_usd that is the rounding of bids to cents.")
    satisfaction_term_usd = number("Weight on satisfaction in the objective; no money changes hands for it.")
    no_sale_value_usd = number("Value of the day with no bids: minus the cost of charging that owners need anyway.")
    objective_usd = number("The optimiser's objective.")
    top_ups_usd = amount("Paid to prosumers from the profit, beyond agreed prices; no bid carries them.")
    kept_profit_usd = number("What is left to the aggregator: bid profits + unallocated - top-ups.")


class Charging(dy.Schema):
    """What each prosumer's charging from the market costs, and how much of it its sales must recover."""

    market_date = market_day(primary_key=True)
    prosumer_id = text(PROSUMER, primary_key=True)
    charging_usd = number("Charging bought at the market price, outside hours in which the fleet sells energy.")
    no_sale_charging_usd = number("Cheapest charging that meets the owner's limits with no sales.")
    to_recover_usd = number("The difference: charging that the sales have caused (or saved).")


class ScenarioQuantities(dy.Schema):
    """How much of each energy bid the fleet would want to sell if a scenario's prices came: what bid curves rest on.

    Empty where a day is solved for its forecast alone (`risk.scenarios` = 1).
    """

    market_date = market_day()
    opportunity_id = text(OPPORTUNITY, primary_key=True)
    scenario = column(dy.Int32, "Number of the scenario; 0 is the forecast.", min=0, primary_key=True)
    price_usd_per_mwh = price("Price of the opportunity in the scenario.")
    quantity_mw = amount("MW that earn most at the scenario's prices, up to the bid's.")


class Proof(dy.Schema):
    """How the day was solved, and how far the answer can be from the best there is."""

    market_date = market_day(primary_key=True)
    method = text("Which method gave the schedule; fallbacks are named.")
    solver = text("Solver.")
    status = text("What the solver said.")
    objective_usd = number("What the schedule earns at forecast prices, with everyone there.")
    risk_adjusted_usd = number("What is maximised: (1 - aversion) x objective + aversion x CVaR.")
    bound_usd = number("No schedule of the bids that the market takes can have a larger risk_adjusted_usd.")
    no_bid_usd = number("risk_adjusted_usd of the best schedule without bids.", nullable=True)
    gap_fraction = amount("(bound - risk_adjusted) / (bound - no_bid): the share of what bidding could add left open.")
    scenarios = count("Scenarios that the day was held against; 1: the forecast alone.")
    aversion = fraction("Weight of the CVaR in what is maximised.")
    cvar_usd = number("Mean profit in the worst scenarios (CVaR).", nullable=True)
    worst_usd = number("Profit in the worst scenario.", nullable=True)
    mean_usd = number("Mean profit over the scenarios: the objective less what absent prosumers cost.", nullable=True)
    seconds = amount("Time to solve.")
    prosumers = count("Prosumers in the problem.")
    hours = count("Hours in the problem.")
    bids = count("Opportunities that trade.")
    formulation = text("What a language model asked to be weighed, as JSON; empty without an answer.", nullable=True)
    formulation_verdict = text("What became of it; empty where none was asked.", nullable=True)
    plain_profit_usd = number("Expected profit of the desk's own formulation.", nullable=True)
    formulated_profit_usd = number("Expected profit of the schedule by the model's weights.", nullable=True)
    plain_objective_usd = number("What the desk's own formulation maximised.", nullable=True)
    formulated_objective_usd = number("What the model's formulation maximised, in its own terms.", nullable=True)
