"""Days solved once for every test that needs a whole one: the pure chain from prices to bids."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import pytest
from hypothesis import settings as property_settings

from vpp_pipeline.bidding.bids import Stamp
from vpp_pipeline.core.calendar import bid_deadline_utc, pacific_moment_utc
from vpp_pipeline.dispatch.problem import DayProblem, DaySolution
from vpp_pipeline.fleet.arrays import Fleet
from vpp_pipeline.inputs.day_inputs import DayInputs
from vpp_pipeline.inputs.requests import COLUMNS
from vpp_pipeline.negotiation.requests import PLACE_SCHEMA, REQUEST_SCHEMA, Requests
from vpp_pipeline.negotiation.terms import Terms
from vpp_pipeline.pipeline import bid_solution, prepare_problem, solve, terms_of
from vpp_pipeline.settings import FleetSettings, ResourceSettings, Settings
from vpp_pipeline_tests import cases
from vpp_pipeline_tests.shared import SHARED, shared

# the same cases in every run, so that a red test is a change's fault; `make fuzz` draws new ones
property_settings.register_profile("steady", derandomize=True)
property_settings.load_profile("steady")

FOLDER = Path(__file__).parent
#: where tests run Dagster or the command line; elsewhere they do where their module has one of these
INTEGRATION_FOLDERS = {"defs", "cli"}
INTEGRATION_NAMES = {"new_desk", "small_desk", "settled_small_desk", "example_run", "settled_example", "subprocess"}


def pytest_configure(config: pytest.Config) -> None:
    """An eighth of the drawn cases where slow tests are left out; a folder for days that processes share."""
    cases.is_short = "not slow" in config.getoption("markexpr")
    if not hasattr(config, "workerinput"):  # not in the processes of pytest-xdist, which inherit the variable
        os.environ[SHARED] = tempfile.mkdtemp(prefix="vpp_shared_")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Without the days that its processes shared."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(SHARED), ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # markers are chosen from after this
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test `unit`, `integration`, `browser` or `cluster`; whole days go first, so that no process ends late.

    A file's tests stay together and in their order, for what they share.
    """
    for item in items:
        folder, names = item.path.relative_to(FOLDER).parts[0], vars(getattr(item, "module", item))
        is_integration = folder in INTEGRATION_FOLDERS or not INTEGRATION_NAMES.isdisjoint(names)
        kind = folder if folder in ("browser", "cluster") else "integration" if is_integration else "unit"
        item.add_marker(kind)
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.get_closest_marker("unit") is not None, -count[item.path], str(item.path)))


DAY = date(2023, 8, 15)
EXAMPLE_REQUEST = ("energy", pacific_moment_utc(DAY, 12), 1, 2.0, 85.0)  # the original's: 2 MW at noon for 85 $/MWh


@dataclass(frozen=True)
class SolvedDay:
    """The day's tables by warehouse name (`Day` of core/tables.py), and what made them."""

    tables: Mapping[str, pl.DataFrame]
    settings: Settings
    fleet: Fleet
    terms: Terms
    problem: DayProblem
    solution: DaySolution

    def with_table(self, name: str, frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
        """The tables with one of them exchanged."""
        return {**self.tables, name: frame}


def request_table(*requests: tuple[object, ...]) -> pl.DataFrame:
    """Requests as they are read: product, start, hours, MW, offered price; the first stands in row 2 of its file."""
    rows = [
        (*request, row, "requests.csv", json.dumps(dict(zip(COLUMNS, map(str, request), strict=True))))
        for row, request in enumerate(requests, start=2)
    ]
    return pl.DataFrame(rows, schema=REQUEST_SCHEMA | PLACE_SCHEMA, orient="row")


@cache
def _solve(market_date: date, settings: Settings, requests: tuple[tuple[object, ...], ...]) -> SolvedDay:
    """Solved by one process of the session, for all of them."""
    chosen = repr((market_date, settings, requests)).encode()

    def make(folder: Path) -> None:
        (folder / "day.pickle").write_bytes(pickle.dumps(_solved(market_date, settings, requests)))

    tables, *others = pickle.loads((shared(f"solved_{sha256(chosen).hexdigest()}", make) / "day.pickle").read_bytes())
    return SolvedDay(MappingProxyType(tables), *others)


def _solved(market_date: date, settings: Settings, requests: tuple[tuple[object, ...], ...]) -> tuple[Any, ...]:
    """What a `SolvedDay` holds."""
    stated = Requests(request_table(*requests))
    inputs = DayInputs(market_date, settings, None, None, None, stated=stated)
    day, problem = prepare_problem(inputs.tables(), settings)
    solution = solve(problem, settings)
    two_hours_early = bid_deadline_utc(market_date) - timedelta(hours=2)
    stamp = Stamp("fingerprint", "0.1.0", settings.fleet.seed, "run", two_hours_early)
    tables = bid_solution(day, problem, solution, settings, stamp)
    tables["market.prices"] = pl.concat(inputs.history.values())
    terms, *_ = terms_of(day, settings)  # of the only resource, or the first
    return tables, settings, problem.fleet, terms, problem, solution


@pytest.fixture(scope="session")
def solved_day() -> Callable[..., SolvedDay]:
    """`solved_day(market_date, prosumers, settings, requests)`: the chain, solved once per argument; all have defaults.

    The day is bid hour by hour unless ``settings`` state how its resource takes part, as those of `storage_day`.
    ``prosumers`` overrides the size of the fleet in ``settings``. Frames are shared between tests: never change one in
    place.
    """

    def solved(
        market_date: date = DAY,
        prosumers: int | None = None,
        settings: Settings | None = None,
        requests: tuple[tuple[object, ...], ...] = (EXAMPLE_REQUEST,),
    ) -> SolvedDay:
        settings = settings or Settings()
        if "participation" not in settings.resources.model_fields_set:
            settings = settings.hour_by_hour()
        if prosumers is not None:
            fleet = FleetSettings(**{**settings.fleet.model_dump(), "prosumers": prosumers})
            settings = settings.model_copy(update={"fleet": fleet})
        return _solve(market_date, settings, requests)

    return solved


@pytest.fixture(scope="session")
def honest(solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    return solved_day()


@pytest.fixture(scope="session")
def storage_day(solved_day: Callable[..., SolvedDay]) -> SolvedDay:
    """A day whose single resource takes part as storage, cut into four."""
    resources = ResourceSettings(participation="storage", storage_classes=4)
    return solved_day(prosumers=40, settings=Settings(resources=resources), requests=())
