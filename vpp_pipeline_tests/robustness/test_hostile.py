"""`make hostile` with few cases: nothing of what it tries gets through."""

from __future__ import annotations

from pathlib import Path

from vpp_pipeline_tests.robustness import hostile_feeds
from vpp_pipeline_tests.robustness.attack import Attack


def repelled(attack: Attack) -> None:
    assert not attack.through, f"{attack}\n" + "\n".join(attack.through[:20])
    assert attack.cases


def test_damaged_zips_are_asked_for_again_or_refused() -> None:
    repelled(hostile_feeds.zips(200))


def test_a_server_that_drips_holds_neither_us_nor_the_gate(tmp_path: Path) -> None:
    repelled(hostile_feeds.drips(tmp_path))
