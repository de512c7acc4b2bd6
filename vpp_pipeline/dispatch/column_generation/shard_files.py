"""Files of a fleet's shards: in a folder that every node of a cluster has, or in an object store."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl

from vpp_pipeline.core.arrays import Indices
from vpp_pipeline.core.bucket import Bucket
from vpp_pipeline.core.errors import InputError, StoreError
from vpp_pipeline.dispatch.column_generation.best_response import Stores
from vpp_pipeline.dispatch.column_generation.shard import Collected, Shard, as_read_only
from vpp_pipeline.dispatch.ray_cluster import ClusterError, require_same_code

LEFT_OVER_S = 2 * 24 * 3600.0  # files of a day that was killed are removed after
PREFIX = "vpp_shards_"
POWER_COLUMNS = ("grid_charge", "solar_charge", "discharge", "solar_sold", "spin", "nonspin")


@dataclass(frozen=True)
class ShardFolder:
    """Where the files of one day's shards lie: a folder that every node has, or the URL of one in an object store."""

    address: str

    @classmethod
    def new(cls, parent: str | None) -> ShardFolder:
        """One for this day, in ``parent``, which is freed of those of days that were killed. Raises InputError where it
        cannot be."""
        try:
            if parent and "://" in parent:
                store = _bucket(parent)
                old = {one.key.split("/")[0] for one in store.entries("") if one.age_s > LEFT_OVER_S}
                for left in filter(lambda name: name.startswith(PREFIX), old):
                    store.remove(left)
                return cls(f"{parent.rstrip('/')}/{PREFIX}{uuid4().hex}")
            folder = Path(parent or tempfile.gettempdir())
            for kept in folder.glob(f"{PREFIX}*"):
                if time.time() - kept.stat().st_mtime > LEFT_OVER_S:
                    shutil.rmtree(kept, ignore_errors=True)
            return cls(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        except OSError as error:
            raise InputError(
                f"shards of the fleet cannot be written: {error.strerror}",
                file=parent,
                remedy="Let optimiser.shard_folder be a folder that every node of the cluster can read and write, or "
                "the URL of one in an object store",
            ) from None

    def write(self, name: str, frame: pl.DataFrame) -> None:
        """Make the file. Raises OSError or StoreError where it cannot be."""

        def fill(file: Path) -> None:
            frame.write_parquet(file, compression="lz4", statistics=False)

        if self._is_url:
            store, key = self._key(name)
            store.create(key, fill)
            store.path(key).unlink(missing_ok=True)  # the copy that it keeps is read by nobody
        else:
            fill(Path(self.address, name))

    def read(self, name: str) -> pl.DataFrame:
        """The file's rows. Raises OSError, StoreError, or polars' error where they cannot be read."""
        if not self._is_url:
            return pl.read_parquet(Path(self.address, name))
        store, key = self._key(name)
        content = store.get(key)
        if content is None:
            raise FileNotFoundError(store.address(key))
        return pl.read_parquet(BytesIO(content))

    def remove(self) -> None:
        """Remove all files."""
        if self._is_url:
            store, key = self._key("")
            store.remove(key.rstrip("/"))
        else:
            shutil.rmtree(self.address, ignore_errors=True)

    @property
    def _is_url(self) -> bool:
        return "://" in self.address

    def _key(self, name: str) -> tuple[Bucket, str]:
        parent, _, day = self.address.rpartition("/")
        return _bucket(parent), f"{day}/{name}"


@cache
def _bucket(url: str) -> Bucket:
    return Bucket(url.rstrip("/"), Path(tempfile.gettempdir(), "vpp_shard_copies"))


@dataclass(frozen=True)
class ShardFile:
    """Where a shard lies, and what made it."""

    folder: ShardFolder
    file: str
    call_hours: float
    made_with: str


def write_shard(held: ShardFile, stores: Stores, place: Indices, group: Indices) -> None:
    """A shard as Parquet: one row per prosumer, hours as arrays."""
    columns = {"place": place, "group": group} | stores._asdict()
    held.folder.write(held.file, pl.DataFrame([pl.Series(name, np.asarray(of)) for name, of in columns.items()]))


def read_shard(held: ShardFile, node: str, threads: int) -> Shard:
    """The shard of a file. Raises ClusterError where this ``node`` cannot read it, or has other code."""
    require_same_code(held.made_with, node)
    try:
        frame = held.folder.read(held.file)
    except (OSError, StoreError, pl.exceptions.PolarsError) as error:
        raise ClusterError(
            f"node {node} of the cluster cannot read its shard of the fleet: {' '.join(str(error).split())}",
            file=f"{held.folder.address}/{held.file}",
            remedy="Let optimiser.shard_folder be a folder that every node can read and write, such as a shared disk, "
            "or the URL of one in an object store that each node has credentials for",
        ) from None
    columns = {name: np.array(frame[name].to_numpy()) for name in frame.columns}
    place, group = columns.pop("place"), columns.pop("group")
    stores = Stores(**{name: as_read_only(values) for name, values in columns.items()})
    return Shard(stores, place, group, held.call_hours, threads)


def write_collected(found: Collected, folder: ShardFolder, file: str) -> str:
    """What a shard found, in a file; its name."""
    columns = dict(zip(POWER_COLUMNS, found.powers, strict=True))
    columns |= {name: getattr(found, name) for name in ("stored", "stored_value", "no_sale_usd")}
    folder.write(file, pl.DataFrame([pl.Series(name, values) for name, values in columns.items()]))
    return file


def read_collected(folder: ShardFolder, file: str) -> Collected:
    """What is in such a file."""
    frame = folder.read(file)
    powers = np.stack([frame[name].to_numpy() for name in POWER_COLUMNS])
    return Collected(powers, *(np.array(frame[name].to_numpy()) for name in ("stored", "stored_value", "no_sale_usd")))
