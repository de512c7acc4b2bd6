"""On every large day, both methods are held against each other on a few prosumers."""

from __future__ import annotations

import pytest

from vpp_pipeline.errors import SolveError
from vpp_pipeline.optimisation.column_generation.agreement import agreement
from vpp_pipeline.optimisation.exact import Formulation
from vpp_pipeline_tests.optimisation.column_generation.two_methods import without_negative_prices
from vpp_pipeline_tests.optimisation.small_days import random_day


@pytest.mark.parametrize("seed", range(8))
def test_both_methods_agree_on_a_part_of_the_fleet(seed: int):
    assert agreement(without_negative_prices(random_day(seed)), seed).startswith("both methods agree to ")


def test_a_difference_of_a_hundred_thousandth_stops_the_day(monkeypatch: pytest.MonkeyPatch):
    solve = Formulation.solve
    monkeypatch.setattr(Formulation, "solve", lambda linear, solver: 1.00001 * solve(linear, solver))
    with pytest.raises(SolveError, match="please report this day"):
        agreement(without_negative_prices(random_day(7)), 7)
