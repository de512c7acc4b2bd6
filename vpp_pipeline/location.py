"""A portfolio as a code location of Dagster: ``dagster code-server start -m vpp_pipeline.location -a north``.

The attribute is the portfolio's name. It is part of the origin of every job, so that a run begins for the portfolio
whose location it is of, on whatever machine, and no tag or configuration of the run can choose another one.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from vpp_pipeline.core.paths import data_folder
from vpp_pipeline.core.portfolios import VARIABLE, checked_name, portfolio, portfolio_folder

if TYPE_CHECKING:
    import dagster as dg


def __getattr__(name: str) -> dg.Definitions:
    """The definitions of the portfolio ``name``, for which this process works from here on."""
    if name.startswith("__"):  # asked for by Python itself
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    os.environ[VARIABLE] = checked_name(name)
    return _definitions()


@cache  # Dagster asks whether there is the attribute, and then for it
def _definitions() -> dg.Definitions:
    from vpp_pipeline.definitions import definitions_of
    from vpp_pipeline.defs.owner import Owner

    portfolio_folder(data_folder(), portfolio())
    return definitions_of(Owner())
