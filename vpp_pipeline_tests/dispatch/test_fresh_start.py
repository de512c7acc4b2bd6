"""Where HiGHS fails on its way from one LP to the next, a fresh start answers, and the day's proof says so."""

from __future__ import annotations

import numpy as np
import pytest

from vpp_pipeline.dispatch.exact import Log, solve_lp
from vpp_pipeline.dispatch.formulation import formulate
from vpp_pipeline.dispatch.problem import unlimited_mw
from vpp_pipeline.settings import OptimiserSettings
from vpp_pipeline_tests.dispatch.small_days import random_day


def test_a_failure_on_the_way_is_told_and_changes_no_answer():
    day = random_day(3)
    linear, log, settings = formulate(day, binary=False), Log(), OptimiserSettings()
    linear.set_bids(np.zeros(len(day.price)), np.zeros(len(day.price)))
    linear.set_quantities(np.zeros(len(day.price)), unlimited_mw(day))
    no_sale_usd = solve_lp(linear, settings, log)
    assert log.steps == []
    linear.program._highs.setOptionValue("simplex_iteration_limit", 0)  # HiGHS gives up before its first pivot
    linear.set_bids(np.zeros(len(day.price)), day.may_bid.astype(float))
    with_sales_usd = solve_lp(linear, settings, log)
    assert log.steps == ["HiGHS began an LP afresh: HiGHS says Iteration limit reached"]
    assert with_sales_usd > no_sale_usd
    assert with_sales_usd == pytest.approx(linear.solve("HIGHS"))
