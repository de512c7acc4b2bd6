"""Fingerprints: the same for the same inputs, another for any change."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
import pytest

from vpp_pipeline.core.provenance import PACKAGE, __version__, code_version, fingerprint, frame_hash

FRAME = pl.DataFrame({"start_utc": [datetime(2024, 1, 1, tzinfo=UTC)], "price": [0.1], "name": ["a"]})


@pytest.mark.parametrize(
    "change",
    [{"price": 0.1 + 1e-15}, {"name": "b"}, {"start_utc": datetime(2024, 1, 1, 1, tzinfo=UTC)}],
)
def test_any_changed_value_is_another_hash(change: dict[str, object]):
    assert frame_hash(FRAME.with_columns(**{name: pl.lit(value) for name, value in change.items()})) != frame_hash(
        FRAME
    )


def test_a_renamed_column_and_another_kind_are_another_hash():
    assert frame_hash(FRAME.rename({"price": "cost"})) != frame_hash(FRAME)
    assert frame_hash(FRAME.with_columns(pl.col("price").cast(pl.Float32))) != frame_hash(FRAME)


def test_fingerprint_knows_inputs_names_and_settings():
    base = fingerprint({"a": FRAME}, "{}")
    assert base == fingerprint({"a": FRAME.clone()}, "{}")
    assert (
        len({base, fingerprint({"b": FRAME}, "{}"), fingerprint({"a": FRAME}, '{"x": 1}'), fingerprint({}, "{}")}) == 4
    )


def test_code_version_is_the_same_in_another_process():
    command = "from vpp_pipeline.core.provenance import code_version; print(code_version())"
    other = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == code_version()
    assert code_version().startswith(f"{__version__}+")


def test_a_name_that_nothing_has_is_refused():
    for name in ("pipeline.negotiates", "pipelines.negotiate", "pipeline", "inputs.day_inputs.DayInputs.forecasts"):
        with pytest.raises(KeyError, match="no function"):
            code_version(name)


#: functions whose versions are compared; the first is everything that computes
WATCHED = {
    "all": (),
    "limits": ("pipeline.limit_fleet",),
    "deals": ("negotiation.negotiate.in_blocks",),
    "prices": ("inputs.day_inputs.DayInputs.forecast",),
    "fleet": ("inputs.day_inputs.DayInputs.fleet",),
    "bids": ("pipeline.form", "pipeline.verify"),
}
PRINT = f"""
import json
from vpp_pipeline.core.provenance import code_version
print(json.dumps({{name: code_version(*of) for name, of in {WATCHED!r}.items()}}))
"""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """The versions of a copy of the package in which one file is another, as a process of its own finds them."""
    folder = tmp_path_factory.mktemp("edited")
    package = shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}

    def after(file: str = "__init__.py", edit: Callable[[str], str] = str) -> dict[str, str]:
        edited, before = package / file, (PACKAGE / file).read_text("utf-8")
        assert edit is str or edit(before) != before
        edited.write_text(edit(before), "utf-8")
        command = [sys.executable, "-c", PRINT]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=folder)
        edited.write_text(before, "utf-8")
        found: dict[str, str] = json.loads(ran.stdout)
        return found

    return after


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


def added(text: str) -> Callable[[str], str]:
    return lambda before: f"{before}\n\n{text}\n"


@pytest.mark.parametrize(
    ("file", "edit", "changed"),
    [
        pytest.param("llm/gateway.py", added("# a remark"), set(), id="comment"),
        pytest.param("fleet/envelope.py", replaced('"""', '"""Indeed: '), set(), id="docstring"),
        pytest.param("fleet/envelope.py", replaced("hour == 0, 24", "(hour == 0),\n 24"), set(), id="layout"),
        pytest.param("cli/main.py", added("USED = 1"), set(), id="what only starts"),
        pytest.param("defs/market.py", added("USED = 1"), set(), id="what only serves"),
        pytest.param("fleet/envelope.py", added("def unused():\n    return 1"), {"all"}, id="a name that none uses"),
        pytest.param(
            "fleet/envelope.py", replaced("hour == 0, 24", "hour == 0, 23"), {"all", "limits", "fleet"}, id="a formula"
        ),
        pytest.param(
            "fleet/envelope.py",
            added("globals()['_hour'] = None"),
            {"all", "limits", "deals", "fleet"},
            id="a statement without a name",
        ),
        pytest.param(
            "llm/gateway.py", replaced("(stored.reply.text", "(stored.reply.text * 1"), {"all", "fleet"}, id="llm"
        ),
        pytest.param("verification/bids.py", replaced(" >= ", " > "), {"all", "bids"}, id="a check"),
        pytest.param(
            "settings.py",
            replaced("rounds: int = Field(3", "rounds: int = Field(4"),
            set(WATCHED) - {"limits"},
            id="default",
        ),
    ],
)
def test_an_edit_is_another_version_of_what_uses_it_alone(
    file: str, edit: Callable[[str], str], changed: set[str], versions: Callable[..., dict[str, str]]
):
    """Deals in particular: after a comment in the layer of language models all were struck again."""
    before, after = versions(), versions(file, edit)
    assert {name for name in WATCHED if before[name] != after[name]} == changed


def test_sources_are_read_once_and_again_where_what_was_kept_is_damaged(
    versions: Callable[..., dict[str, str]], tmp_path_factory: pytest.TempPathFactory
):
    first = versions()
    (kept,) = tmp_path_factory.getbasetemp().rglob("cache/vpp_pipeline/sources_*.json")
    whole, at = kept.read_text("utf-8"), kept.stat().st_mtime_ns
    assert versions() == first
    assert kept.stat().st_mtime_ns == at
    kept.write_text(whole[: len(whole) // 2])
    assert versions() == first
    assert json.loads(kept.read_text("utf-8")) == json.loads(whole)
