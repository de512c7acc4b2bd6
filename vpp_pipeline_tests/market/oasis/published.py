"""What a market operator could publish, in OASIS's layout: from the generator, from the public file, or as recorded."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

from vpp_pipeline.core.calendar import market_hours
from vpp_pipeline.market.open_source import open_source
from vpp_pipeline.market.price_source import PriceSource
from vpp_pipeline.market.synthetic_prices import Synthetic

SHARED = Path(__file__).resolve().parents[3] / "../shared/data"
FIXTURES, PRICES = SHARED / "oasis_layout_fixtures", SHARED / "caiso_prices"
SP15, NP15, ZP26 = "TH_SP15_GEN-APND", "TH_NP15_GEN-APND", "TH_ZP26_GEN-APND"

LMP_HEADER = (  # as in the recorded files, so that a reader can compare
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,OPR_INTERVAL,NODE_ID_XML,NODE_ID,NODE,MARKET_RUN_ID,"
    "LMP_TYPE,XML_DATA_ITEM,PNODE_RESMRID,GRP_TYPE,POS,MW,GROUP"
)
AS_HEADER = (
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,OPR_DT,OPR_HR,OPR_INTERVAL,OPR_TYPE,ANC_TYPE,ANC_REGION,MARKET_RUN_ID,"
    "XML_DATA_ITEM,MW,GROUP"
)
LOAD_HEADER = (  # as public readers of OASIS name the columns; no recorded file is at hand
    "INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,LOAD_TYPE,OPR_DT,OPR_HR,OPR_INTERVAL,MARKET_RUN_ID,TAC_AREA_NAME,LABEL,"
    "XML_DATA_ITEM,POS,MW,EXECUTION_TYPE,GROUP"
)
RENEWABLE_HEADER = (
    "OPR_DT,OPR_HR,OPR_INTERVAL,INTERVALSTARTTIME_GMT,INTERVALENDTIME_GMT,TRADING_HUB,RENEWABLE_TYPE,LABEL,XML_DATA_ITEM,"
    "MW,MARKET_RUN_ID,GROUP"
)
AS_REGIONS = ("AS_CAISO", "AS_CAISO_EXP", "AS_NP26", "AS_NP26_EXP", "AS_SP26", "AS_SP26_EXP")
AS_ITEMS = {"SR": "SP_CLR_PRC", "NR": "NS_CLR_PRC", "RU": "RU_CLR_PRC", "RD": "RD_CLR_PRC"}

Rows = list[list[str]]
Outlook = Callable[[date, str], Rows | None]  # a day's rows of SLD_FCST by 2DA or 7DA, or of SLD_REN_FCST by DAM
Published = Callable[[date], tuple[Rows, Rows] | None]  # the day's rows of PRC_LMP and PRC_AS, or nothing yet


def _hour(start: datetime, market_date: date, label: int) -> list[str]:
    end = start + timedelta(hours=1)
    return [f"{start:%Y-%m-%dT%H:%M:%S}-00:00", f"{end:%Y-%m-%dT%H:%M:%S}-00:00", str(market_date), str(label), "0"]


def _lmp(hour: list[str], node: str, kind: str, price: float) -> list[str]:
    return [*hour, node, node, node, "DAM", kind, f"{kind}_PRC", node, "ALL_APNODES", "0", repr(price), "1"]


def _reserve(hour: list[str], kind: str, region: str, price: float) -> list[str]:
    return [*hour, "Hourly", kind, region, "DAM", AS_ITEMS[kind], repr(price), "1"]


def from_sources(sources: dict[str, PriceSource], split: float = 0.0) -> Published:
    """Publishes what the sources (by node) say; ``split`` $/MW·h of each reserve price lie on AS_SP26, 3 on AS_NP26."""

    @cache
    def published(market_date: date) -> tuple[Rows, Rows] | None:
        lmp, reserves = [], []
        labels = dict(market_hours(market_date).select("start_utc", "hour_ending").iter_rows())
        for node, source in sources.items():
            for row in source.day(market_date).iter_rows(named=True):
                hour = _hour(row["start_utc"], market_date, labels[row["start_utc"]])
                energy = row["energy_usd_per_mwh"]
                lmp += [_lmp(hour, node, "LMP", energy), _lmp(hour, node, "MCC", energy / 10)]
                if node != next(iter(sources)):
                    continue
                for kind, column in (
                    ("SR", "spin_usd_per_mw_h"),
                    ("NR", "nonspin_usd_per_mw_h"),
                    ("RU", ""),
                    ("RD", ""),
                ):
                    price = row[column] if column else 7.5
                    parts = {"AS_CAISO_EXP": price - split, "AS_SP26": split, "AS_NP26": 3.0 if split else 0.0}
                    reserves += [_reserve(hour, kind, region, parts.get(region, 0.0)) for region in AS_REGIONS]
        return lmp, reserves

    return published


def outlook(market_date: date, run: str) -> Rows:
    """A made-up system: 20,000 MW of load and 1,000 times the OASIS label (7DA: 500 more), sun by day, wind."""
    rows = []
    for start, label in market_hours(market_date).select("start_utc", "hour_ending").iter_rows():
        begin, end, *rest = _hour(start, market_date, label)
        if run == "DAM":
            solar = {"NP15": 100.0 * label, "SP15": 300.0 * label, "ZP26": 50.0} if 8 <= label < 18 else {}
            for hub in ("NP15", "SP15", "ZP26"):
                head = [*rest, begin, end, hub]
                tail = ["Renewable Forecast Day Ahead", "RENEW_FCST_DA_MW"]
                rows.append([*head, "Solar", *tail, repr(solar.get(hub, -1.5)), "DAM", "1"])
                if hub != "ZP26":
                    rows.append([*head, "Wind", *tail, repr(400.0), "DAM", "1"])
        else:
            load = 20_000.0 + 1_000.0 * label + (500.0 if run == "7DA" else 0.0)
            for area, share in (("CA ISO-TAC", 1.0), ("SCE-TAC", 0.4)):
                label_words = [f"Demand Forecast {run[0]}-Day Ahead", f"SYS_FCST_{run}_MW"]
                rows.append([begin, end, "0", *rest, run, area, *label_words, "1.8", repr(load * share), run, "1"])
    return rows


def generated(split: float = 0.0) -> Published:
    """The embedded generator's prices at SP15, for any day."""
    return from_sources({SP15: Synthetic()}, split)


@cache
def real() -> Published:
    """The public file's prices at two nodes, its reserve prices whole on AS_CAISO_EXP as in the fixtures."""
    return from_sources({node: open_source(PRICES, node) for node in (SP15, NP15)})


def recorded(market_date: date) -> tuple[Rows, Rows] | None:
    """A day of the fixtures, word for word."""
    tables = []
    for report in ("PRC_LMP_DAM_LMP", "PRC_AS_DAM"):
        file = FIXTURES / f"{market_date:%Y%m%d}_{market_date:%Y%m%d}_{report}_v12.zip"
        if not file.exists():
            return None
        with zipfile.ZipFile(file) as archive:
            text = archive.read(archive.namelist()[0]).decode()
        tables.append(list(csv.reader(io.StringIO(text)))[1:])
    return tables[0], tables[1]
