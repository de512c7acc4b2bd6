"""The desk's pages: days, periods, and owners from a warehouse of two days, and every link between them."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from html import unescape
from itertools import pairwise
from pathlib import Path
from posixpath import dirname, join, normpath

import duckdb
import polars as pl
import pytest

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.reporting.page import page
from vpp_pipeline.reporting.queries import read_facts
from vpp_pipeline.reporting.settlement import account_lines, causes
from vpp_pipeline.reporting.site import Site
from vpp_pipeline.warehouse.publish import note_of
from vpp_pipeline.warehouse.tables import open_warehouse
from vpp_pipeline_tests.conftest import DAY
from vpp_pipeline_tests.published import published
from vpp_pipeline_tests.reporting.reading import parse, tables, value, words
from vpp_pipeline_tests.shared import shared

NEXT, MONTH = date(2023, 8, 16), "2023-08"
CENT = 0.00501


@pytest.fixture(scope="module")
def data(solved_day) -> Path:
    """A day that two runs have bid and that is settled, and the day after it, which is bid."""

    def make(folder: Path) -> None:
        published(solved_day(), folder, runs=2)
        published(solved_day(NEXT, 30, requests=()), folder, is_settled=False)

    return shared("desk", make)


@pytest.fixture(scope="module")
def site(data: Path) -> Site:
    return Site(data)


def shown(site: Site, address: str, **query: str) -> ET.Element:
    """The page of an address, which must be there; well-formed."""
    answer = site.answer(address, query)
    assert answer.status == 200, answer.body.decode()
    return parse(answer.body.decode())


def told(site: Site, address: str) -> tuple[int, str]:
    """Status and words of a page that has nothing to show."""
    answer = site.answer(address)
    return answer.status, words(parse(answer.body.decode()).find(".//main"))  # type: ignore[arg-type]


def ask(data: Path, question: str) -> list[tuple]:
    with open_warehouse(data / "vpp.duckdb") as connection:
        return connection.execute(question).fetchall()


def test_the_calendar_shows_each_day_with_its_result_and_leads_to_it(site: Site, data: Path):
    root = shown(site, "")
    rows = {row[0]: row[1:] for row in tables(root)["Days of August 2023"]}
    assert list(rows) == ["Wed 2023-08-16", "Tue 2023-08-15"]
    settled, bid = rows["Tue 2023-08-15"], rows["Wed 2023-08-16"]
    assert (settled[0], bid[0]) == ("settled", "bid")
    ((net, expected, profit, gap),) = ask(
        data,
        f"""select net_usd, expected_net_usd, (select sum(expected_profit_usd) from bids.final_bids b
                   where b.market_date = s.market_date), gap_fraction
            from evaluation.settled_days s join dispatch.proof using (market_date) where market_date = '{DAY}'""",
    )
    assert [value(cell) for cell in settled[1:5]] == pytest.approx([net, expected, net - expected, profit], abs=CENT)
    assert value(settled[5]) == pytest.approx(100 * gap, abs=0.0501)
    assert bid[1:4] == ["", "", ""]
    assert f'<a href="days/{DAY}.html">' in site.answer("").body.decode()
    assert "Not for a market" in words(root)


def test_days_between_without_bids_are_told(solved_day, tmp_path: Path):
    for day in (DAY, date(2023, 8, 19)):
        published(solved_day(day, 12, requests=()), tmp_path, is_settled=False)
    rows = tables(shown(Site(tmp_path), "index.html"))["Days of August 2023"]
    assert [row[:2] for row in rows] == [
        ["Sat 2023-08-19", "bid"],
        ["2023-08-16 to 08-18", "no bids published"],
        ["Tue 2023-08-15", "bid"],
    ]


def test_a_period_adds_up_from_its_days(site: Site, data: Path):
    month, same = (shown(site, f"periods/{name}.html") for name in (MONTH, "2023-08-01_2023-08-31"))
    assert tables(month)["By product; energy in MWh net of charging, reserve in MW·h"]
    assert tables(month) == {
        caption.replace("Tuesday 1 August 2023 to Thursday 31 August 2023", "August 2023"): rows
        for caption, rows in tables(same).items()
    }
    account = {row[0]: row[1:] for row in tables(month)["Account, at forecast prices as planned, and as settled"]}
    ((expected, net, paid),) = ask(data, "select expected_net_usd, net_usd, payments_usd from evaluation.settled_days")
    assert [value(cell) for cell in account["net"]] == pytest.approx([expected, net, net - expected], abs=CENT)
    products = tables(month)["By product; energy in MWh net of charging, reserve in MW·h"]
    assert [row[0] for row in products] == ["energy", "spin", "nonspin"]
    assert sum(value(row[7]) for row in products) == pytest.approx(paid, abs=CENT)
    resources = tables(month)["By resource"]
    assert [row[0] for row in resources] == ["vpp"]
    assert value(resources[0][4]) == pytest.approx(paid, abs=CENT)
    assert "Not known: no day of this period was replayed" in words(month)


def test_days_without_an_expected_account_are_not_compared(data: Path, tmp_path: Path):
    """As older code settled them: their net must not stand beside expected sums that lack them."""
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    older = "insert into evaluation.settled_days by name select * replace (date '2023-08-16' as market_date"
    lines = ("energy", "reserve", "charging", "leftover", "payments", "net")
    with duckdb.connect(str(copy / "vpp.duckdb")) as connection:
        nothing = ", ".join(f"null as expected_{line}_usd" for line in lines)
        connection.execute(f"{older}, {nothing}) from evaluation.settled_days")
    root, before = (shown(Site(folder), f"periods/{MONTH}.html") for folder in (copy, data))
    account = "Account, at forecast prices as planned, and as settled"
    assert tables(root)[account] == tables(before)[account]
    assert "2 settled days" in words(root)
    assert "Of 1 day: older code has settled the others" in words(root)
    with duckdb.connect(str(copy / "vpp.duckdb")) as connection:
        connection.execute(f"delete from evaluation.settled_days where market_date = '{DAY}'")
    alone = shown(Site(copy), f"periods/{MONTH}.html")
    assert account not in tables(alone)
    assert "Older code has settled these days" in words(alone)


def test_foresight_is_told_where_a_back_test_has_replayed_the_day(data: Path, tmp_path: Path):
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    with duckdb.connect(str(copy / "vpp.duckdb")) as connection:
        for arm, net in (("perfect_foresight", 1000.0), ("indexed", 800.0)):
            connection.execute(
                "insert into evaluation.benchmark by name select $day as market_date, $arm as arm, 's' as source, "
                "'n' as node, 200 as prosumers, 0 as present, 0 as fleet_kw, $net as net_usd, -10.0 as no_sale_usd, "
                + ", ".join(f"0 as {name}" for name in _other_columns(connection)),
                {"day": DAY, "arm": arm, "net": net},
            )
    rows = tables(shown(Site(copy), f"periods/{MONTH}.html"))
    found = {row[0]: row[1:] for row in rows["Capture of perfect foresight, on the days that a back-test has replayed"]}
    ((net,),) = ask(copy, "select net_usd from evaluation.settled_days")
    assert found["indexed"] == ["1", "$800.00", "80.0%"]
    assert found["perfect foresight"][2] == "100.0%"
    assert value(found["as bid and settled"][1]) == pytest.approx(net + 10.0, abs=CENT)


def _other_columns(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Columns of the benchmark that must not be null, beside those that the test sets."""
    known = {"market_date", "arm", "source", "node", "prosumers", "present", "fleet_kw", "net_usd", "no_sale_usd"}
    asked = "select column_name from duckdb_columns() where table_name = 'benchmark' and not is_nullable"
    return [name for (name,) in connection.execute(asked).fetchall() if name not in known]


def test_an_owner_finds_hours_energy_payments_and_reasons(site: Site, data: Path):
    ((owner, paid, count),) = ask(
        data,
        """select prosumer_id, sum(payment_usd), count(*) from evaluation.deliveries
           group by prosumer_id order by sum(payment_usd) desc limit 1""",
    )
    listed = tables(shown(site, f"owners/{MONTH}.html"))
    (first, *_) = next(rows for caption, rows in listed.items() if caption.startswith("Owners by payment"))
    assert first[0] == owner
    assert value(first[1]) == pytest.approx(paid, abs=CENT)
    root = shown(site, f"owners/{owner}/{MONTH}.html")
    deliveries = tables(root)["Deliveries, each with its price and the reason; reserve per MW and hour"]
    assert len(deliveries) == count
    assert sum(value(row[6]) for row in deliveries) == pytest.approx(paid, abs=CENT * count)
    assert all(row[8].startswith("Paid") for row in deliveries)
    cards = {words(card[0]): words(card[1]) for card in root.iterfind(".//dl[@class='cards']/div")}
    assert value(cards["Paid"]) == pytest.approx(paid, abs=CENT)
    hours = ask(data, f"select count(distinct start_utc) from explain.statement where prosumer_id = '{owner}'")
    assert (int(cards["Hours"]),) == hours[0]
    days = {row[0]: row for row in tables(root)["What each day brought"]}
    assert (days[str(DAY)][1], value(days[str(DAY)][6])) == ("settled", pytest.approx(paid, abs=CENT))


def test_an_owner_without_payments_finds_the_reason(site: Site, data: Path):
    ((owner, why),) = ask(
        data, f"select prosumer_id, why from explain.earnings where market_date = '{DAY}' and options = 0 limit 1"
    )
    root = shown(site, f"owners/{owner}/{MONTH}.html")
    assert f"Nothing was paid in {MONTH}" in words(root)
    assert why in {row[-1] for row in tables(root)["What each day brought"]}


def test_an_owner_is_found_by_a_part_of_its_id(site: Site):
    root = shown(site, f"owners/{MONTH}.html", find="_017")
    (rows,) = tables(root).values()
    assert [row[0] for row in rows] == ["prosumer_017"]
    assert "No owner of 2023-08 has “<b>”" in words(shown(site, f"owners/{MONTH}.html", find="<b>"))


def links(address: str, body: bytes) -> set[str]:
    found = map(unescape, re.findall(r'<a href="([^"#]+)', body.decode()))
    return {normpath(join(dirname(address), link)) for link in found}


@pytest.mark.slow
def test_every_link_of_every_page_leads_somewhere(site: Site):
    """From the first page on, as a browser follows them."""
    waiting, done = {"index.html"}, set[str]()
    while waiting:
        address = waiting.pop()
        answer = site.answer(address)
        assert answer.status == 200, address
        done.add(address)
        if answer.kind.startswith("text/html"):
            waiting |= links(address, answer.body) - done
    reached = {address.split("/")[0] for address in done}
    assert reached == {"index.html", "days", "periods", "owners", "downloads"}
    assert f"owners/prosumer_017/{MONTH}.html" in done
    assert len(done) > 200  # an owner each


@pytest.mark.slow  # every page twice
def test_written_pages_are_those_that_are_served_and_need_nobody(site: Site, tmp_path: Path):
    count = site.write(tmp_path / "pages")
    files = [file for file in (tmp_path / "pages").rglob("*") if file.is_file()]
    assert len(files) == count
    for file in files:
        if file.suffix == ".html":
            root = parse(file.read_text(encoding="utf-8"))
            assert root.find(".//form") is None
            for link in root.iter("a"):
                target = (link.get("href") or "").partition("#")[0]
                assert (file.parent / target.replace("%25", "%")).exists(), target
    served = tables(shown(site, f"days/{DAY}.html"))
    assert tables(parse((tmp_path / "pages" / "days" / f"{DAY}.html").read_text(encoding="utf-8"))) == served


def test_the_day_is_its_report_with_ways_to_other_days_owners_and_files(site: Site):
    root = shown(site, f"days/{DAY}.html")
    targets = {link.get("href") for link in root.iter("a")}
    assert {f"{NEXT}.html", f"../periods/{MONTH}.html", f"../owners/{MONTH}.html"} <= targets
    assert f"../downloads/{DAY}/segments.parquet" in targets
    assert any(re.fullmatch(rf"\.\./owners/prosumer_\d+/{MONTH}\.html", target or "") for target in targets)
    assert "Settlement, and why it differs" in words(root)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_bids_and_segments_are_downloaded_whole(site: Site, data: Path, tmp_path: Path, kind: str):
    for name, table in (("bids", "bids.final_bids"), ("segments", "bids.bid_segments")):
        answer = site.answer(f"downloads/{DAY}/{name}.{kind}")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{DAY}_{name}.{kind}"'
        file = tmp_path / f"{name}.{kind}"
        file.write_bytes(answer.body)
        read: dict[str, Callable[[Path], pl.DataFrame]] = {
            "csv": pl.read_csv,
            "json": pl.read_json,
            "parquet": pl.read_parquet,
        }
        ((count,),) = ask(data, f"select count(*) from {table} where market_date = '{DAY}'")
        assert read[kind](file).height == count > 0


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("days/2023-08-20.html", 404, "no bids of 2023-08-20 are published"),
        ("days/2023-99-20.html", 404, "no such day in the calendar"),
        ("periods/2023-13.html", 404, "no such day in the calendar"),
        (f"owners/nobody/{MONTH}.html", 404, "no such owner (value nobody)"),
        (f"downloads/{DAY}/vpp.duckdb", 404, "no such file of a day"),
        ("days/../../vpp.duckdb", 404, "no page of this address"),
        ("etc/passwd", 404, "no page of this address"),
    ],
)
def test_what_is_not_there_is_told_with_a_remedy(site: Site, address: str, status: int, says: str):
    found, text = told(site, address)
    assert found == status
    assert says in text


def test_without_a_warehouse_the_page_says_what_to_do(tmp_path: Path):
    for address in ("", "periods/index.html", f"periods/{MONTH}.html", "owners/index.html", f"days/{DAY}.html"):
        status, text = told(Site(tmp_path), address)
        assert status == 404
        assert "Make a day's bids first: vpp-pipeline bids" in text
    with pytest.raises(InputError, match=r"index\.html cannot be made.*vpp-pipeline bids"):
        Site(tmp_path).write(tmp_path / "pages")


def test_a_damaged_or_older_warehouse_is_told_with_its_remedy(data: Path, tmp_path: Path):
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    with duckdb.connect(str(copy / "vpp.duckdb")) as connection:
        connection.execute("drop view bids.days")
    assert told(Site(copy), "") == (503, told(Site(copy), "")[1])
    assert "vpp-pipeline rebuild" in told(Site(copy), "")[1]
    assert Site(copy).answer(f"days/{DAY}.html").status == 200  # the day needs no more than an older one has
    (copy / "vpp.duckdb").write_bytes(b"torn")
    status, text = told(Site(copy), "")
    assert (status, "vpp-pipeline rebuild" in text) == (503, True)


def test_pages_are_never_stale_and_say_where_a_publication_is_under_way(data: Path, tmp_path: Path, solved_day):
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    site = Site(copy)
    assert site.answer("days/2023-08-17.html").status == 404
    published(solved_day(date(2023, 8, 17), 12, requests=()), copy, is_settled=False)
    assert site.answer("days/2023-08-17.html").status == 200
    assert "A publication is under way" not in words(shown(site, ""))
    note_of(copy / "vpp.duckdb").write_text("2023-08-18")
    assert "A publication is under way" in words(shown(site, ""))


def test_a_forecast_that_stood_in_is_a_banner_of_day_calendar_and_period(data: Path, tmp_path: Path):
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    assert "A forecast stood in" not in words(shown(Site(copy), ""))
    with duckdb.connect(str(copy / "vpp.duckdb")) as connection:
        connection.execute(
            "update bids.checks set passed = false, is_warning = true, description = 'profile for meters' "
            "where check_name = 'solar_is_forecast_as_asked'"
        )
    for address in ("", f"days/{DAY}.html", f"periods/{MONTH}.html"):
        banners = [words(banner) for banner in shown(Site(copy), address).findall(".//p[@class='banner']")]
        assert [banner.partition(":")[0] for banner in banners] == ["Not for a market", "A forecast stood in"]
        assert "profile for meters" in banners[1]


# The report's own parts


def test_the_causes_add_up_to_what_the_settlement_differs_by(solved_day, tmp_path: Path):
    """Energy clears at four fifths of the forecast, spin at twice as much."""
    prices = {"energy_usd_per_mwh": pl.col("energy_usd_per_mwh") * 0.8}
    prices["spin_usd_per_mw_h"] = pl.col("spin_usd_per_mw_h") * 2.0
    day = solved_day(NEXT, 30, requests=())
    facts = read_facts(published(day, tmp_path, runs=2, prices=prices) / "vpp.duckdb", NEXT)
    account, bids = facts.one("account"), facts["settled"]
    found = causes(account, bids)
    assert abs(found.pop("rounding", 0.0)) < 0.01 * len(bids)
    difference = account["net_usd"] - account["expected_net_usd"]
    assert sum(found.values()) == pytest.approx(difference, abs=0.01 * len(bids))
    assert abs(difference) > 10.0
    of_spin = sum(bid["forecast_price"] * bid["expected_mw"] for bid in bids if bid["product"] == "spin")
    of_energy = -0.2 * sum(bid["forecast_price"] * bid["expected_mw"] for bid in bids if bid["product"] == "energy")
    assert found["clearing prices other than forecast"] == pytest.approx(of_spin + of_energy, abs=CENT * len(bids))
    *lines, (_, expected, settled, change) = account_lines(account)
    assert sum(line[1] or 0.0 for line in lines) == pytest.approx(expected, abs=CENT)
    assert sum(line[2] for line in lines) == pytest.approx(settled, abs=CENT)
    assert change == pytest.approx(difference, abs=CENT)


def test_a_day_that_older_code_settled_has_no_causes(data: Path):
    facts = read_facts(data / "vpp.duckdb", DAY)
    account = {
        name: None if name.startswith("expected_") and name != "expected_profit_usd" else amount
        for name, amount in facts.one("account").items()
    }
    shown_ = parse(page(replace(facts, results={**facts.results, "account": [account]})))
    rows = tables(shown_)["Account, at forecast prices as planned, and as settled"]
    assert [row[1] for row in rows] == ["", "", "", "$0.00", "", "", ""]
    assert "What the difference comes from" not in words(shown_)


def stack(root: ET.Element, product: str) -> list[dict[str, str]]:
    """The numbers of a product's bid stack, by its heading."""
    for table in root.iter("table"):
        if words(table[0]) == f"Bid stack of {product} by hour ending, MW":
            heads = [words(head) for head in table.iterfind("thead/tr/th")]
            return [dict(zip(heads, map(words, row), strict=True)) for row in table.iterfind("tbody/tr")]
    raise AssertionError(product)


def test_the_bid_stack_shows_bids_awards_and_what_was_bid_before(site: Site, data: Path):
    root = shown(site, f"days/{DAY}.html")
    for product in ("energy", "spin", "nonspin"):
        rows = {int(row["Hour ending"]): row for row in stack(root, product)}
        assert list(rows) == list(range(1, 25))
        bids = ask(
            data,
            f"""select extract(hour from b.start_utc at time zone 'America/Los_Angeles') + 1, b.total_capacity_mw,
                       s.awarded_mw
                from bids.final_bids b join evaluation.settlement s using (market_date, opportunity_id)
                where market_date = '{DAY}' and b.product = '{product}' and status = 'bid'""",
        )
        assert bids
        for hour, mw, awarded in bids:
            assert value(rows[int(hour)]["MW offered"]) == pytest.approx(mw, abs=CENT)
            assert value(rows[int(hour)]["Awarded"]) == pytest.approx(awarded, abs=CENT)
            assert value(rows[int(hour)]["Previous run"]) == pytest.approx(mw / 2, abs=CENT)  # as `published` writes it
    following = stack(shown(site, f"days/{NEXT}.html"), "spin")
    before = {row["Hour ending"]: value(row["MW offered"]) for row in stack(root, "spin")}
    for row in following:
        told_ = row[f"Previous day, {DAY}"]
        assert before[row["Hour ending"]] == pytest.approx(value(told_) if told_ else 0.0, abs=CENT)
    assert "Awarded" not in following[0]


def test_clearing_prices_are_drawn_over_the_forecast_once_known(data: Path):
    facts = read_facts(data / "vpp.duckdb", DAY)
    assert "clearing price" not in page(replace(facts, results={**facts.results, "settled": [], "account": []}))
    cleared = [{**hour, "energy": hour["energy"] + 10.0} for hour in facts["forecast"]]
    root = parse(page(replace(facts, results={**facts.results, "cleared": cleared})))
    (table,) = [table for table in root.iter("table") if words(table[0]) == "Energy by hour"]
    for row in table.iterfind("tbody/tr"):
        cells = [words(cell) for cell in row]
        assert value(cells[4]) == pytest.approx(value(cells[1]) + 10.0, abs=2 * CENT)


def test_a_bid_s_hour_leads_to_its_reason(site: Site):
    root = shown(site, f"days/{DAY}.html")
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    targets = [(link.get("href") or "") for link in root.iter("a") if (link.get("href") or "").startswith("#why-")]
    assert len(targets) > 20
    assert {target.removeprefix("#") for target in targets} <= ids


def test_energy_stands_first_each_product_by_its_profit(site: Site):
    rows = tables(shown(site, f"days/{DAY}.html"))["Bids of the day; prices per MWh, for reserve per MW and hour"]
    is_reserve = [row[1] != "energy" for row in rows]
    assert is_reserve == sorted(is_reserve)
    for reserve in (False, True):
        profits = [value(row[5]) for row in rows if (row[1] != "energy") == reserve]
        assert all(before >= after for before, after in pairwise(profits))
        assert profits


def test_meters_and_rows_of_the_fleet_that_were_set_aside_are_listed(data: Path):
    facts = read_facts(data / "vpp.duckdb", DAY)
    meter = {
        "meter_id": "meter_7",
        "column_name": "solar_kwh",
        "value": "-3",
        "problem": "negative",
        "remedy": "Mend it",
    }
    meter |= {"first_date": DAY, "days": 2, "file": "meters.csv", "file_row": 12}
    row = {"prosumer_id": None, "file_row": 9, "file": "fleet.csv", "column_name": "store", "value": "<i>" * 99}
    row |= {"problem": "unknown", "remedy": "Write battery"}
    root = parse(page(replace(facts, results={**facts.results, "meters_aside": [meter], "fleet_aside": [row]})))
    assert tables(root)["Meters set aside"] == [
        ["meter_7", "2 days from 2023-08-15, row 12 of meters.csv", "solar_kwh", "-3", "negative", "Mend it"]
    ]
    ((name, *_),) = tables(root)["Rows of the fleet set aside"]
    assert name == "row 9"
    assert "Set aside: 1 meter, 1 row of the fleet, 0 requests" in words(root)
    assert "Nothing was set aside" in page(facts)
