"""Aversion to risk as a linear objective: expected profit against its conditional value at risk (CVaR).

Owners are paid the same in every scenario (what the absent do not get is in the worth of a bid), and CVaR(x − c) =
CVaR(x) − c. So the risk is in what the market pays alone: in q and the purchases, in no prosumer's own variables.
"""

from __future__ import annotations

import cvxpy as cp

from vpp_pipeline.optimisation.problem import DayProblem


def risk_adjusted(
    day: DayProblem, q: cp.Variable, buy: cp.Variable, expected_usd: cp.Expression
) -> tuple[cp.Expression, list[cp.Constraint]]:
    """What the market pays, (1 − λ) · expected + λ · CVaR, and the constraints that define the CVaR.

    maximise    (1 − λ) · expected + λ · (η − Σ_w P_w ξ_w / tail)
    subject to  ξ_w ≥ η − (Σ_o worth_wo h_o q_o − Σ_t (market_wt + adder) buy_t),   ξ ≥ 0

    Rockafellar and Uryasev, Optimization of conditional value-at-risk, Journal of Risk 2 (2000). ``q`` (O,) and ``buy``
    (T,) in MW; at the optimum η is the value at risk. Without scenarios or aversion it is what is expected, as it is.
    """
    scenarios = day.scenarios
    if scenarios is None or scenarios.aversion == 0.0:
        return expected_usd, []
    value_at_risk = cp.Variable()
    below = cp.Variable(len(scenarios.probability), nonneg=True)
    outcome_usd = (scenarios.worth * day.hours) @ q - (scenarios.market_price + day.charging_adder) @ buy
    cvar_usd = value_at_risk - scenarios.probability @ below / scenarios.tail_fraction
    adjusted_usd = (1.0 - scenarios.aversion) * expected_usd + scenarios.aversion * cvar_usd
    return adjusted_usd, [below >= value_at_risk - outcome_usd]
