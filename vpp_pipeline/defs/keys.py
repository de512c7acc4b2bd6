"""Keys of assets and tags of runs, by which several portfolios share one history of Dagster.

Dagster keeps what it knows of an asset by its key alone, whichever code location it is of. So the assets of a portfolio
begin with its name; those of the desk without a name are as they always were. A process works for one portfolio, which
is known when this module is imported.
"""

from __future__ import annotations

import dagster as dg

from vpp_pipeline.core.portfolios import portfolio

PREFIX = (portfolio(),) if portfolio() else ()
PORTFOLIO_TAG = "vpp/portfolio"
#: tags of every job
OWN_TAGS = dict.fromkeys([PORTFOLIO_TAG] if PREFIX else [], portfolio())
LENGTH = 2  # of the key of an asset of the desk without a name


def key_of(table: str) -> dg.AssetKey:
    """``market.prices`` is the asset ``market/prices``, and ``north/market/prices`` of the portfolio `north`."""
    return dg.AssetKey([*PREFIX, *table.split(".")])


def table_of(key: dg.AssetKey) -> str:
    """The table that an asset of this process's portfolio is."""
    return ".".join(key.path[len(PREFIX) :])


def portfolio_of(run: dg.DagsterRun) -> str:
    """The portfolio that a run is for: by its assets, and where it names none by its job's tag.

    Tags can be chosen by whoever starts a run, so that nothing but a place in the queue and a line in a list rests on
    it; what a run may read and write is decided by the code location that it is of.
    """
    names = {key.path[0] if len(key.path) > LENGTH else "" for key in run.asset_selection or ()}
    return names.pop() if len(names) == 1 else run.tags.get(PORTFOLIO_TAG, "")


def is_own(run: dg.DagsterRun) -> bool:
    """Whether a run of the history is for the portfolio of this process."""
    return portfolio_of(run) == "".join(PREFIX)
