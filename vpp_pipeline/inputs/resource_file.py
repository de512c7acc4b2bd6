"""The resources that bids are made for: the desk's single one, or those of a file, checked cell by cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from vpp_pipeline.core.caiso import CAISO
from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import file_name
from vpp_pipeline.core.table_cells import number
from vpp_pipeline.core.table_file import check_columns, read_table
from vpp_pipeline.schemas import DESK, PARTICIPATION, Resources, validate
from vpp_pipeline.settings import ResourceSettings, Settings

NEEDED = ("resource_id", "participation", "maximum_mw")
CERTIFIED = tuple(reserve.certified_column for reserve in CAISO.reserves)
COLUMNS = (
    "resource_id",
    "scheduling_coordinator_id",
    "participation",
    "sub_lap",
    "node",
    "minimum_mw",
    "maximum_mw",
    *CERTIFIED,
)
IN_MW = ("minimum_mw", "maximum_mw", *CERTIFIED)
LARGEST_MW = 1e5
Row = dict[str, str | float | None]
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")  # it becomes part of the names of opportunities and bids


def resource_names(settings: ResourceSettings) -> list[str]:
    """The names of the resources, whichever node prices are of."""
    return [DESK] if settings.path is None else [str(row["resource_id"]) for row in _read(settings.path, None)]


def part_names(settings: Settings) -> list[str]:
    """The resources that a generated fleet is cut into where it is larger than a part and no file names any; else
    none."""
    fleet = settings.fleet
    if settings.resources.path is not None or fleet.path is not None or fleet.prosumers <= fleet.part_prosumers:
        return []
    count = -(-fleet.prosumers // fleet.part_prosumers)
    return [f"{DESK}{number:0{len(str(count))}}" for number in range(1, count + 1)]


def check_settings(resources: pl.DataFrame, settings: Settings) -> None:
    """Raise InputError where the settings ask of several resources what is solved for one alone."""
    for_one = {
        "risk.scenarios": settings.risk.scenarios > 1,
        "payments.rule": settings.payments.rule != "agreed",
        "model_use.formulation": settings.model_use.formulation,
    }
    chosen = ", ".join(name for name, is_chosen in for_one.items() if is_chosen)
    is_storage = (resources["participation"] == "storage").any()
    if chosen and (is_storage or resources.height > 1):
        file = settings.resources.path
        hourly = "--set resources.participation=hourly" + (", without --resources" if file else "")
        what = f"{resources.height} resources" if resources.height > 1 else "a resource that takes part as storage"
        raise InputError(
            f"{what} cannot be bid with {chosen}: solved for one resource that is bid hour by hour alone",
            file=file,
            remedy=f"Bid the fleet hour by hour ({hourly}), or leave {chosen} at the default",
        )


def resources_of_day(
    settings: ResourceSettings, market_date: date, node: str, parts: Sequence[str] = ()
) -> pl.DataFrame:
    """Rows of :class:`~vpp_pipeline.schemas.Resources`; ``node``: that of the day's prices, at which all settle.
    ``parts``: the names of those that the settings' single one is cut into, which share its certification.

    Raises InputError naming file, row, column and value of the first entry that cannot be used.
    """
    if settings.path is not None:
        rows, source = _read(settings.path, node), file_name(settings.path)
    else:
        chosen = {name: getattr(settings, name) for name in ("participation", *CERTIFIED)}
        names = parts or [DESK]
        chosen |= {name: chosen[name] and chosen[name] / len(names) for name in CERTIFIED}
        rows = [dict.fromkeys(COLUMNS) | chosen | {"resource_id": name, "node": node} for name in names]
        source = "settings"
    kinds = {name: pl.Float64 if name in IN_MW else pl.String for name in COLUMNS}
    table = pl.DataFrame(rows, schema=kinds).with_columns(market_date=pl.lit(market_date), source=pl.lit(source))
    return validate(Resources, table)


def hour_by_hour(resources: pl.DataFrame) -> pl.DataFrame:
    """The same resources, storage among them bid hour by hour.

    There no Pmin counts: one of 0 is left open, so that the resource may charge where it is bid as storage after all.
    """
    is_hourly = pl.col("participation") == "hourly"
    return resources.with_columns(
        minimum_mw=pl.when(is_hourly & (pl.col("minimum_mw") == 0.0)).then(None).otherwise("minimum_mw"),
        participation=pl.col("participation").replace("storage", "hourly"),
    )


def _read(path: Path, node: str | None) -> list[Row]:
    """One row per resource."""
    table = read_table(path, "resources").whole().with_decimal_points(IN_MW)
    check_columns(table.rows.columns, COLUMNS, NEEDED, "resources", path, table.header_row)
    if table.rows.is_empty():
        raise InputError(
            "the file of resources holds no resource", file=path, remedy="Write a header and one row per resource"
        )
    cells = table.rows.select(pl.col(name).cast(pl.String).str.strip_chars() for name in table.rows.columns)
    found: dict[str, int] = {}
    rows = []
    for line, cell in zip(table.numbers, cells.fill_null("").iter_rows(named=True), strict=True):
        row = _row(path, line, dict.fromkeys(COLUMNS, "") | cell, node)
        name = str(row["resource_id"])
        if name in found:
            raise InputError(
                f"the resource is in row {found[name]} already",
                file=path,
                row=line,
                column="resource_id",
                value=name,
                remedy="Give each resource one row",
            )
        found[name] = line
        rows.append(row)
    return rows


def _row(path: Path, line: int, cell: dict[str, str], node: str | None) -> Row:
    """One resource. Raises InputError for the first cell that cannot be used."""

    def wrong(column: str, remedy: str, problem: str = "a resource cannot be used") -> InputError:
        return InputError(problem, file=path, row=line, column=column, value=cell[column] or "nothing", remedy=remedy)

    mw = {name: _mw(name, cell[name], wrong) if cell[name] else 0.0 for name in IN_MW}
    row: Row = {name: cell[name] or None for name in COLUMNS} | mw | {"node": cell["node"] or node}
    if cell["participation"] == "storage" and not cell["minimum_mw"]:
        row["minimum_mw"] = None  # what its members can do
    for column in ("resource_id", "scheduling_coordinator_id", "sub_lap"):
        if not _NAME.fullmatch(cell[column]) and (cell[column] or column == "resource_id"):
            raise wrong(column, "Use up to 40 letters, digits, _ and -")
    if cell["participation"] not in PARTICIPATION:
        raise wrong("participation", "Write storage, hourly, proxy_demand or none")
    if node is not None and row["node"] != node:
        other = f"Leave it empty, or write {node}; bid resources at another node as a portfolio (docs/how-to.md)"
        raise wrong("node", other, "one pricing node serves all resources of a day")
    _check_limits(row, mw, wrong)
    return row


def _check_limits(
    row: Mapping[str, str | float | None], mw: Mapping[str, float], wrong: Callable[[str, str], InputError]
) -> None:
    lowest, highest = mw["minimum_mw"], mw["maximum_mw"]
    if highest <= 0.0:
        raise wrong("maximum_mw", "Write a number above 0")
    if lowest > 0.0:
        raise wrong("minimum_mw", "Write 0, or a number below it for what it charges")
    for column in CERTIFIED:
        if not 0.0 <= mw[column] <= highest:
            raise wrong(column, f"Write a number from 0 to maximum_mw, {highest:g}")
    if row["participation"] == "proxy_demand" and mw["certified_spin_mw"] > 0.0:
        raise wrong("certified_spin_mw", "Write 0: a proxy demand resource offers non-spinning reserve alone")
    if row["participation"] == "proxy_demand" and lowest < 0.0:
        raise wrong("minimum_mw", "Write 0: a proxy demand resource does not charge in the market")


def _mw(column: str, text: str, wrong: Callable[[str, str], InputError]) -> float:
    value = number(text)
    if value is None:
        raise wrong(column, "Write a number alone, in MW, with a point for decimals")
    if not -LARGEST_MW <= value <= LARGEST_MW:
        raise wrong(column, f"Write a number from {-LARGEST_MW:g} to {LARGEST_MW:g}")
    return value
