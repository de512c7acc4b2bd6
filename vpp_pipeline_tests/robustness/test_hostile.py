"""`make hostile` with few cases: nothing of what it tries gets through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vpp_pipeline.core.paths import project_folder
from vpp_pipeline_tests.robustness import hostile_day, hostile_feeds, hostile_pages
from vpp_pipeline_tests.robustness.attack import Attack
from vpp_pipeline_tests.robustness.hostile_day import HostileDay


def repelled(attack: Attack) -> None:
    assert not attack.through, f"{attack}\n" + "\n".join(attack.through[:20])
    assert attack.cases


def test_damaged_zips_are_asked_for_again_or_refused() -> None:
    repelled(hostile_feeds.zips(200))


def test_damaged_weather_is_asked_for_again_or_refused() -> None:
    repelled(hostile_feeds.weather(300))


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


def test_pages_of_the_desk_stay_within_it(day: HostileDay) -> None:
    repelled(hostile_day.desk(day))


def test_a_password_of_an_address_is_nowhere(day: HostileDay) -> None:
    repelled(hostile_day.secrets(day))


def test_files_are_for_their_user_alone(day: HostileDay) -> None:
    repelled(hostile_day.modes(day))


def test_only_a_question_is_answered_in_sql(day: HostileDay) -> None:
    repelled(hostile_day.statements(day))


def test_what_others_have_put_into_a_shared_folder_is_refused(tmp_path: Path) -> None:
    repelled(hostile_pages.links(tmp_path))


def test_everything_that_make_installs_is_hashed() -> None:
    """But for the other programs of the benchmark, whose newest versions are compared."""
    makefile = (project_folder() / "Makefile").read_text(encoding="utf-8")
    for command in re.findall(r"pip install [^\n]* -r [^\n]*\.lock", makefile):
        assert "--require-hashes" in command
    for lock in sorted(project_folder().glob("requirements*.lock")):
        lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
        pinned = [place for place, line in enumerate(lines) if "==" in line]
        assert pinned
        assert all(lines[place + 1].lstrip().startswith("--hash=sha256:") for place in pinned), lock.name


def test_dagster_listens_to_this_machine_alone() -> None:
    """That of `vpp-pipeline dev` is tried by `hostile_pages.pages`."""
    makefile = (project_folder() / "Makefile").read_text(encoding="utf-8")
    assert "-m vpp_pipeline dev\n" in makefile
