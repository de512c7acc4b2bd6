"""`make hostile` with few cases: nothing of what it tries gets through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpp_pipeline_tests.robustness import hostile_day, hostile_feeds
from vpp_pipeline_tests.robustness.attack import Attack
from vpp_pipeline_tests.robustness.hostile_day import HostileDay


def repelled(attack: Attack) -> None:
    assert not attack.through, f"{attack}\n" + "\n".join(attack.through[:20])
    assert attack.cases


def test_damaged_zips_are_asked_for_again_or_refused() -> None:
    repelled(hostile_feeds.zips(200))


def test_a_server_that_drips_holds_neither_us_nor_the_gate(tmp_path: Path) -> None:
    repelled(hostile_feeds.drips(tmp_path))


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileDay]:
    """One day for all that outside text may reach."""
    with hostile_day.hostile_day(tmp_path_factory.mktemp("hostile")) as made:
        yield made


@pytest.mark.parametrize("attack", [hostile_day.terminal, hostile_day.spreadsheets, hostile_day.file_names])
def test_text_of_owners_stays_text(attack: Callable[[HostileDay], Attack], day: HostileDay) -> None:
    repelled(attack(day))


def test_the_report_loads_nothing_and_runs_nothing(day: HostileDay) -> None:
    repelled(hostile_day.html(day))


def test_a_password_of_an_address_is_nowhere(day: HostileDay) -> None:
    repelled(hostile_day.secrets(day))


def test_files_are_for_their_user_alone(day: HostileDay) -> None:
    repelled(hostile_day.modes(day))


def test_only_a_question_is_answered_in_sql(day: HostileDay) -> None:
    repelled(hostile_day.statements(day))
