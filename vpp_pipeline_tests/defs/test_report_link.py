"""A day's run leaves its report beside the warehouse, and leads to it from the warehouse's page."""

from __future__ import annotations

import shutil

import pytest

from vpp_pipeline_tests.defs.desk import DAY, metadata_of, settled_small_desk, small_desk


@pytest.mark.parametrize("address", ["http://127.0.0.1:3001", None])
def test_publication_writes_the_report_and_leads_to_it(address: str | None, monkeypatch: pytest.MonkeyPatch):
    """To the desk's page where its address is known: no browser follows a link from Dagster's page to a file."""
    monkeypatch.delenv("VPP_DESK_URL", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    desk = small_desk()
    shutil.rmtree(desk.data / "reports")
    if address:  # as `vpp-pipeline dev` writes it
        (desk.data / "dagster").mkdir()
        (desk.data / "dagster" / "desk.url").write_text(address)
    result = desk.materialise("warehouse.published")
    assert result.success
    report = desk.data / "reports" / f"{DAY}.html"
    assert metadata_of(result, "warehouse.published")["report"] == (
        f"{address}/days/{DAY}.html" if address else str(report.resolve())
    )
    assert "Bids for Tuesday 15 August 2023" in report.read_text(encoding="utf-8")


def test_a_settlement_writes_the_report_again():
    for desk, is_settled in ((small_desk(), False), (settled_small_desk(), True)):
        report = (desk.data / "reports" / f"{DAY}.html").read_text(encoding="utf-8")
        assert ("Settlement, and why it differs" in report) == is_settled
        assert ("clearing price" in report) == is_settled
