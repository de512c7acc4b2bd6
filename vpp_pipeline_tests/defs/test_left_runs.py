"""Runs of a back-fill that were lost, and that Dagster leaves where it has called the back-fill complete before."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from vpp_pipeline.definitions import runs_left_by_back_fills
from vpp_pipeline.defs.keys import PORTFOLIO_TAG
from vpp_pipeline.defs.sensors import AGAIN_TAG, left_runs

DAY = "2023-08-15"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def lost_run(instance: dg.DagsterInstance, status: str = "COMPLETED_FAILED", **tags: str) -> str:
    """A run that Dagster was to run again, of a back-fill with that status; its id."""
    name = f"backfill_{status}"
    if instance.get_backfill(name) is None:
        instance.add_backfill(PartitionBackfill(name, BulkActionStatus(status), False, {}, 0.0, partition_names=[DAY]))
    own = {"dagster/backfill": name, "dagster/partition": DAY, "dagster/will_retry": "true"}
    return create_run_for_test(instance, "bid_day", status=dg.DagsterRunStatus.FAILURE, tags=own | tags).run_id


def test_a_lost_run_of_a_complete_back_fill_is_made_again_once(instance: dg.DagsterInstance):
    lost = lost_run(instance)
    with dg.build_sensor_context(instance=instance) as context:
        (request,) = runs_left_by_back_fills(context).run_requests
    assert (request.run_key, request.job_name, request.partition_key) == (f"again {lost}", "bid_day", DAY)
    assert request.tags == {AGAIN_TAG: lost}  # and no back-fill: Dagster runs it again by itself where it is lost too


@pytest.mark.parametrize("status", ["REQUESTED", "CANCELING", "CANCELED", "FAILED"])
def test_a_back_fill_that_dagster_still_watches_or_that_was_canceled_is_left_alone(
    instance: dg.DagsterInstance, status: str
):
    lost_run(instance, status)
    assert left_runs(instance, datetime.now(UTC)) == []


@pytest.mark.parametrize(
    "tags",
    [{"dagster/auto_retry_run_id": "another"}, {"dagster/will_retry": "false"}, {PORTFOLIO_TAG: "north"}],
    ids=["it was run again", "it failed by itself", "it is of another portfolio"],
)
def test_other_runs_are_left_alone(instance: dg.DagsterInstance, tags: dict[str, str]):
    lost_run(instance, **tags)
    assert left_runs(instance, datetime.now(UTC)) == []


def test_a_run_that_was_lost_days_ago_is_left_alone(instance: dg.DagsterInstance):
    lost_run(instance)
    assert left_runs(instance, datetime.now(UTC) + timedelta(days=2)) == []
