"""A day's run leaves its report beside the warehouse and names it on the warehouse's page."""

from __future__ import annotations

import shutil

from vpp_pipeline_tests.defs.desk import DAY, metadata_of, small_desk


def test_publication_writes_the_report_and_links_it():
    desk = small_desk()
    shutil.rmtree(desk.data / "reports")
    result = desk.materialise("warehouse.published")
    assert result.success
    report = desk.data / "reports" / f"{DAY}.html"
    assert metadata_of(result, "warehouse.published")["report"] == report.resolve().as_uri()
    assert "Bids for Tuesday 15 August 2023" in report.read_text(encoding="utf-8")
