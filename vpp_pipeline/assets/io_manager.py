"""Tables between assets are files of the lake."""

import json

import dagster as dg
import polars as pl

from vpp_pipeline.assets.figures import figures_of, history_of
from vpp_pipeline.assets.resources import Storage

SETTINGS, HASHES = "settings", "input_hashes"  # metadata of these names stays with the table, in its file


class LakeIOManager(dg.IOManager):
    """Asset ``market/prices``, partition ``2023-08-15`` is the lake's table ``market.prices`` of that day."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        told = {name: context.output_metadata.get(name) for name in (SETTINGS, HASHES)}
        kept = {
            name: json.dumps(words.value, sort_keys=True)
            for name, words in told.items()
            if isinstance(words, dg.JsonMetadataValue)
        }
        table, lake = ".".join(context.asset_key.path), self.storage.lake
        path = lake.write(table, context.partition_key, obj, kept)
        figures = figures_of(table, obj, history_of(lake, table, context.partition_key))
        said = context.output_metadata  # what the asset says itself goes before
        context.add_output_metadata({name: value for name, value in figures.items() if name not in said})
        context.add_output_metadata({"file": str(path)})

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        table = ".".join(context.asset_key.path)
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        return self.storage.lake.read_many(table, keys) if len(keys) != 1 else self.storage.lake.read(table, keys[0])
