"""Tables between assets are files of the lake."""

import json

import dagster as dg
import polars as pl

from vpp_pipeline.assets.resources import Storage

SETTINGS, HASHES = "settings", "input_hashes"  # metadata of these names stays with the table, in its file


class LakeIOManager(dg.ConfigurableIOManager):
    """Asset ``market/prices``, partition ``2023-08-15`` is the lake's table ``market.prices`` of that day."""

    storage: dg.ResourceDependency[Storage]

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame) -> None:
        told = {name: context.output_metadata.get(name) for name in (SETTINGS, HASHES)}
        kept = {
            name: json.dumps(words.value, sort_keys=True)
            for name, words in told.items()
            if isinstance(words, dg.JsonMetadataValue)
        }
        path = self.storage.lake.write(".".join(context.asset_key.path), context.partition_key, obj, kept)
        context.add_output_metadata({"dagster/row_count": obj.height, "file": str(path), "first_rows": first_rows(obj)})

    def load_input(self, context: dg.InputContext) -> pl.DataFrame:
        table = ".".join(context.asset_key.path)
        keys = context.asset_partition_keys if context.has_asset_partitions else []
        return self.storage.lake.read_many(table, keys) if len(keys) != 1 else self.storage.lake.read(table, keys[0])


def first_rows(frame: pl.DataFrame, count: int = 5) -> dg.MarkdownMetadataValue:
    """The first rows as a small table for the asset's page."""
    head = frame.head(count).select(pl.all().cast(pl.String, strict=False).fill_null(""))
    lines = ["| " + " | ".join(head.columns) + " |", "|" + " --- |" * head.width]
    lines += ["| " + " | ".join(row) + " |" for row in head.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))
