"""Checks of who takes part: rows set aside, and words that were not understood. They warn; bids may go out."""

from __future__ import annotations

import polars as pl

from vpp_pipeline.core.tables import Day
from vpp_pipeline.domain.verdict import Verdict, judge
from vpp_pipeline.settings import Settings


def every_prosumer_of_the_file_takes_part(day: Day, settings: Settings) -> Verdict:
    """No row of the fleet is in quarantine; warns with the first that is, and its reason."""
    fleet = day["fleet.prosumers"].height
    aside = day["fleet.quarantine"].unique("file_row", keep="first", maintain_order=True)
    told = aside.select("file_row", "prosumer_id", "column_name", "problem")
    held = f"all {fleet} prosumers of the fleet take part"
    return judge(told, f"row(s) of {fleet + aside.height} in quarantine", held, fleet, is_warning=True)


def every_note_is_understood(day: Day, settings: Settings) -> Verdict:
    """Every part of every owner's note limits something; warns with the first that does not: its words were not
    understood, or the site has no such device."""
    notes = day["fleet.notes"]
    idle = notes.filter(pl.col("status").is_in(["not understood", "no such device"]))
    not_read = idle.unique(["prosumer_id", "part"], maintain_order=True)
    held = f"{notes.height} readings of owners' notes, all understood"
    return judge(
        not_read.select("prosumer_id", "quote", "status"),
        "part(s) of owners' notes limit nothing",
        held,
        notes.height,
        is_warning=True,
    )
