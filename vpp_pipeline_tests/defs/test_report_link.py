"""A day's run leaves its report beside the warehouse and names it on the warehouse's page."""

from __future__ import annotations

from vpp_pipeline_tests.defs.desk import DAY, metadata_of, new_desk


def test_publication_writes_the_report_and_links_it():
    desk = new_desk()
    result = desk.run()
    assert result.success
    report = desk.data / "reports" / f"{DAY}.html"
    assert metadata_of(result, "warehouse.published")["report"] == report.resolve().as_uri()
    assert "Bids for Tuesday 15 August 2023" in report.read_text(encoding="utf-8")
