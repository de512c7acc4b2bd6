"""Where a run's prices come from: its own words, else the file of defaults, else the generator."""

from pathlib import Path

import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.defs.resources import Prices
from vpp_pipeline.market.open_source import PriceFiles

EXAMPLE = Path(__file__).resolve().parents[2] / "data" / "example_prices_2023-08.csv"


def prices(folder: Path, text: str | None = None, **named: str) -> Prices:
    file = folder / "prices.toml"
    if text is not None:
        file.write_text(text)
    return Prices(**{"path": None, "node": None, "defaults": str(file), **named})


def test_without_a_file_prices_are_synthetic(tmp_path: Path):
    assert prices(tmp_path).open().name == "synthetic"


def test_the_file_names_the_source_and_its_path_is_relative_to_it(tmp_path: Path):
    (tmp_path / "real.csv").write_bytes(EXAMPLE.read_bytes())
    chosen = prices(tmp_path, 'path = "real.csv"\nnode = "TH_SP15_GEN-APND"\n')
    assert chosen.chosen() == (PriceFiles(tmp_path / "real.csv"), "TH_SP15_GEN-APND")
    assert chosen.open().name != "synthetic"


def test_what_a_run_names_goes_before_the_file(tmp_path: Path):
    assert prices(tmp_path, 'path = "nowhere.csv"', path=str(EXAMPLE)).chosen() == (PriceFiles(EXAMPLE), None)


@pytest.mark.parametrize("text", ["path = ", 'node = "TH_SP15_GEN-APND"', 'path = "a.csv"\nnodes = 3'])
def test_a_file_that_names_no_source_is_refused(tmp_path: Path, text: str):
    with pytest.raises(InputError, match=r"prices\.toml"):
        prices(tmp_path, text).open()
