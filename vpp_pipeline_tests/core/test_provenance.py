"""Fingerprints: the same for the same inputs, another for any change."""

import subprocess
import sys
from datetime import UTC, datetime

import polars as pl
import pytest

from vpp_pipeline.core.provenance import __version__, code_version, fingerprint, frame_hash

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
