"""An asset that is a table: key, group, columns and words come from the table's declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import getdoc
from typing import Any

import dagster as dg
import dataframely as dy

from vpp_pipeline.assets.partitions import DAYS
from vpp_pipeline.provenance import code_version
from vpp_pipeline.schemas import TABLES, Messages

OWNERS = ["team:trading-desk"]


def key_of(table: str) -> dg.AssetKey:
    """``market.prices`` is the asset ``market/prices``."""
    return dg.AssetKey(table.split("."))


def columns_of(schema: type[dy.Schema]) -> dg.TableSchema:
    """The *Columns* panel of an asset."""
    keys = set(schema.primary_key())
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable, other=["part of the key"] if name in keys else []
                ),
            )
            for name, column in schema.columns().items()
        ]
    )


def table_asset(table: str, kinds: set[str], **options: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Decorator of an asset that makes ``table``; its docstring is the catalogue entry."""
    group, name = table.split(".")
    declared = TABLES.get(table, Messages)
    arguments: dict[str, Any] = {"partitions_def": DAYS, "code_version": code_version(), "owners": OWNERS} | options
    decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        name=name,
        key_prefix=group,
        group_name=group,
        kinds=kinds,
        metadata={"dagster/column_schema": columns_of(declared), "dagster/table_name": table},
        **arguments,
    )
    return decorator


def table_outs(tables: Mapping[str, str], kinds: set[str]) -> dict[str, dg.AssetOut]:
    """Outputs of one computation that makes several tables: output name -> table."""
    return {
        output: dg.AssetOut(
            key=key_of(table),
            group_name=table.split(".")[0],
            description=getdoc(TABLES[table]),
            kinds=kinds,
            owners=OWNERS,
            code_version=code_version(),
            metadata={"dagster/column_schema": columns_of(TABLES[table]), "dagster/table_name": table},
        )
        for output, table in tables.items()
    }
