"""The honest day that the tests of verification tamper with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vpp_pipeline_tests.conftest import SolvedDay


@pytest.fixture(scope="session")
def honest(solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    return solved_day()
