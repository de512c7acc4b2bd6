"""Lines of price files in both layouts, to be spoilt and read again."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.core.errors import InputError, NoDataError
from vpp_pipeline.market.open_source import open_source

DAY = date(2023, 8, 15)
HEADER = "start_utc,node,energy_usd_per_mwh,spin_usd_per_mw_h,nonspin_usd_per_mw_h"
CAISO_HEADER = "datetime,node,SP15,NonSpin,RegDown,Spin"


def table_lines(day: date = DAY, node: str = "A") -> list[str]:
    """Header and the day's hours: energy 10.5, 11.5 … $/MWh."""
    starts = market_hours(day)["start_utc"]
    return [HEADER, *(f"{start:%Y-%m-%dT%H:%M:%SZ},{node},{k + 10.5},2,1" for k, start in enumerate(starts))]


def caiso_lines(day: date = DAY, node: str = "A") -> list[str]:
    starts = market_hours(day)["start_utc"]
    return [CAISO_HEADER, *(f"{start:%Y-%m-%d %H:%M:%S},{node},{k + 10.5},1,9,300.5" for k, start in enumerate(starts))]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def changed(lines: list[str], number: int, column: int, value: str) -> list[str]:
    """``lines`` with one cell replaced; ``number`` counts from 1."""
    cells = lines[number - 1].split(",")
    cells[column] = value
    return [*lines[: number - 1], ",".join(cells), *lines[number:]]


def complaint(path: Path, day: date = DAY, node: str | None = None) -> str:
    """What opening and reading says; it must be an ``InputError`` that is not ``NoDataError``."""
    with pytest.raises(InputError) as caught:
        open_source(path, node).day(day)
    assert not isinstance(caught.value, NoDataError)
    return str(caught.value)


def assert_names(message: str, *, row: int, column: str, value: str, file: Path) -> None:
    assert f"file {file}" in message
    assert f"row {row}," in message
    assert f"column {column}" in message
    assert f"value {value}" in message
    assert re.search(r"\. [A-Z].*\.$", message), "ends in a remedy"
