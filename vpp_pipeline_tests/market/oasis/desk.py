"""A client of the local OASIS that never waits for long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.market.oasis.source import OasisPrices
from vpp_pipeline_tests.market.oasis.server import LocalOasis

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def quick(oasis: LocalOasis, folder: Path, **named: object) -> OasisSettings:
    """Settings for the server, with milliseconds for seconds and everything kept in ``folder``."""
    chosen = {"url": oasis.url, "archive": folder / "archive", "gate": folder / "gate"}
    pace = {"interval_s": 0.002, "backoff_s": 0.005, "timeout_s": 20.0, "patience_s": 20.0}
    return OasisSettings(**{**chosen, **pace, **named})


def prices_of(
    oasis: LocalOasis,
    folder: Path,
    node: str | None = None,
    now: Callable[[], datetime] = lambda: LATER,
    **named: object,
) -> OasisPrices:
    return OasisPrices(quick(oasis, folder, **named), node, now)
