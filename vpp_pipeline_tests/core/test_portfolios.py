"""Portfolios never share a path, whatever their names, and no link leads from one to another's tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.portfolios import (
    VARIABLE,
    add_portfolio,
    checked_name,
    place_of,
    portfolio,
    portfolio_folder,
    portfolios,
    working_for,
)

ANY_NAME = st.one_of(
    st.text(max_size=50),
    st.text(alphabet="abzABZ019-._/\\ ~:\0", max_size=12),
    st.from_regex(r"[a-z0-9-]{1,41}", fullmatch=True),
    st.sampled_from(
        ["..", ".", "../south", "a/../b", "north/", "con", "NUL", "com1", "north\n", "-", "north-", "ｎorth"]
    ),
)


def _refused(data: Path, name: str) -> str:
    with pytest.raises(InputError) as error:
        portfolio_folder(data, name)
    return str(error.value)


@given(ANY_NAME, ANY_NAME)
def test_no_two_names_share_a_path(one: str, other: str):
    assume(one != other)
    root, places = Path("/data"), []
    for name in (one, other):
        try:
            places.append(root / place_of(name))
        except InputError:
            return
    first, second = (Path(str(place).casefold()) for place in places)  # as on a disk that knows no upper case
    assert first != second
    for place in (first, second):  # a name is one folder of `portfolios`, and nothing above it
        assert place == root or (place.parent == root / "portfolios" and ".." not in place.parts)
    assert root in (first, second) or not (first.is_relative_to(second) or second.is_relative_to(first))


@given(ANY_NAME)
def test_a_name_that_is_refused_is_told_one_that_is_not(name: str):
    message = ""
    try:
        assert checked_name(name) == name
    except InputError as error:
        message = str(error)
    _, is_proposed, proposal = message.rpartition("such as ")
    assert not is_proposed or checked_name(proposal)
    assert "\n" not in message


def test_a_portfolio_that_is_not_there_is_told_with_the_one_that_may_be_meant(tmp_path: Path):
    add_portfolio(tmp_path, "north")
    assert "did you mean north?" in _refused(tmp_path, "nroth")
    assert "--add west" in _refused(tmp_path, "west")
    assert "not the name of a portfolio" in _refused(tmp_path, "../north")
    assert portfolios(tmp_path) == ["north"]
    assert not (tmp_path / "portfolios" / "nroth").exists()
    with pytest.raises(InputError, match="there is such a portfolio"):
        add_portfolio(tmp_path, "north")


def test_no_link_leads_to_another_desk(tmp_path: Path):
    north, south = add_portfolio(tmp_path, "north"), add_portfolio(tmp_path, "south")
    (south / "lake" / "market").mkdir(parents=True)
    (south / "vpp.duckdb").touch()
    (south / "fleet.csv").touch()
    (tmp_path / "vpp.duckdb").touch()
    elsewhere = tmp_path.parent / f"{tmp_path.name}_elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fleet.csv").touch()
    assert portfolio_folder(tmp_path, "north") == north
    (tmp_path / "portfolios" / "east").symlink_to(south)
    assert "the folder of a portfolio is a link" in _refused(tmp_path, "east")
    for name, target in {
        "lake": south / "lake",
        "vpp.duckdb": tmp_path / "vpp.duckdb",
        "fleet.csv": south / "fleet.csv",
        "prices": south,
        "reports": elsewhere,
        "archive": elsewhere / "not_there",
    }.items():
        (north / name).symlink_to(target)
        assert "link" in _refused(tmp_path, "north")
        (north / name).unlink()
    (north / "lake").mkdir()
    (north / "lake" / "market").symlink_to(south / "lake" / "market")
    assert "in a portfolio's lake" in _refused(tmp_path, "north")
    (north / "lake" / "market").unlink()
    (north / "fleet.csv").symlink_to(elsewhere / "fleet.csv")  # an input of the owner's, which is only read
    (north / "own.csv").symlink_to(north / "fleet.csv")
    assert portfolio_folder(tmp_path, "north") == north


def test_a_process_works_for_the_portfolio_that_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert portfolio() == ""
    with working_for("north"):
        assert portfolio() == "north"
        with working_for(""):
            assert portfolio() == ""
    assert portfolio() == ""
    monkeypatch.setenv(VARIABLE, "../x")
    with pytest.raises(InputError, match="not the name of a portfolio"):
        portfolio()
