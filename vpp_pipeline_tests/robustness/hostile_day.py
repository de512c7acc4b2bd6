"""A day made of hostile text: owners' ids and notes that mean something to terminals, spreadsheets, Markdown, HTML, SQL
and file systems, prices from an address with a password; and where any of that arrives."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import stat
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import duckdb
import polars as pl
import pytest

from vpp_pipeline.cli.main import main
from vpp_pipeline.core.display import FORMULA
from vpp_pipeline.fleet.generator import generate_fleet
from vpp_pipeline.settings import FleetSettings
from vpp_pipeline_tests.cli.command_line import own_history
from vpp_pipeline_tests.market.oasis.published import generated
from vpp_pipeline_tests.market.oasis.server import LocalOasis, serving
from vpp_pipeline_tests.robustness.attack import Attack

DAY = date(2024, 7, 11)
CANARY = "C4N4RY-of-an-address"
PROXY_CANARY = "PR0XY-C4N4RY"
#: ids that a fleet may have
IDS = (
    "=HYPERLINK(0)",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    " =1+1",
    "../../escaped",
    "..",
    "/tmp/escaped",
    "a/b\\c",
    "CON",
    "<img src=x onerror=alert(1)>",
    "![x](http://evil.example/x)",
    "[bold red]x[/] :smile:",
    "{{7*7}}{% raw %}",
    "'; drop table bids.final_bids; --",
    "a|b",
    "$(touch escaped)`touch escaped`",
    "x" * 300,
)
#: ids that no terminal shows as they are: their rows are set aside
UNSEEN = ("p\x1b[2J1", "p\x072", "p\u202e3", "p\x9b31m4", "p\u200b5")
NOTES = (
    "=cmd|' /C calc'!A0",
    "\x1b]0;owned\x07keep 40 % for outages",
    "<script>alert(1)</script>",
    "never below 20 %\u202e",
    "@import url(http://evil.example)",
    "]]></p><script>",
)
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
OURS = {"data", "home", "prices.toml", "fleet.csv", "dagster.yaml"}  # made by the attack itself
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f]")


@dataclass(frozen=True)
class HostileDay:
    """Folders of the day, and all that its commands have printed."""

    folder: Path
    printed: io.StringIO

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, command: str, *arguments: str) -> tuple[int, str]:
        """Status and output of a command, both streams in one; -vv shows all that there is."""
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            status = main([command, "--data", str(self.data), "-vv", *arguments])
        self.printed.write(out.getvalue())
        return status, out.getvalue()


@contextmanager
def hostile_day(folder: Path) -> Iterator[HostileDay]:
    """The bids of the day and their settlement, by the command line, with prices of a local OASIS."""
    day = HostileDay(folder, io.StringIO())
    for name in ("data", "home"):
        (folder / name).mkdir()
    with serving(LocalOasis(generated())) as oasis, own_history(folder / "home"), pytest.MonkeyPatch.context() as patch:
        (day.data / "prices.toml").write_text(
            f'kind = "oasis"\n[oasis]\ngate = "{folder / "gate"}"\ninterval_s = 0.002\nbackoff_s = 0.002\n'
        )
        patch.setenv("VPP_OASIS_URL", oasis.url.replace("//", f"//desk:{CANARY}@"))
        _write_fleet(day.data / "fleet.csv")
        chosen = ["--date", str(DAY), "--fleet", str(day.data / "fleet.csv")]
        for setting in ("optimiser.time_limit_seconds=60", "fleet.quarantine_limit_fraction=0.5"):
            chosen += ["--set", setting]
        for command, arguments in (("bids", chosen), ("settle", ["--date", str(DAY)])):
            status, said = day.run(command, *arguments)
            if status not in (0, 3):
                raise RuntimeError(f"{command} ended with {status}:\n{said[-3000:]}")
        yield day


def _write_fleet(file: Path) -> None:
    """Rows of a generated fleet under hostile ids, and five whose ids cannot be seen."""
    fleet = generate_fleet(FleetSettings(prosumers=len(IDS) + len(UNSEEN)), DAY).drop("market_date")
    notes = [NOTES[place % len(NOTES)] for place in range(fleet.height)]
    ids = pl.Series("prosumer_id", [*IDS, *UNSEEN])
    fleet.with_columns(prosumer_id=ids, site_id=ids, note=pl.Series(notes)).write_csv(file, quote_style="necessary")


def terminal(day: HostileDay) -> Attack:
    """What commands print holds no letter that a terminal obeys, and none that hides or reorders others."""
    attack = Attack("control characters on the terminal")
    at = ("--date", str(DAY))
    commands: dict[str, tuple[str, ...]] = {
        "sql": ("select * from fleet.quarantine",),
        "sql wide": ("select prosumer_id, note from fleet.prosumers",),
        "sql json": ("--json", "select * from fleet.quarantine"),
        "sql code": ("select chr(27) || '[2J' as a, chr(8238) as b",),
        "sql wrong": ("select \x1b[2J from x\u202e",),
        "statement": at,
        "runs": at,
        "brief": at,
        "report": at,
        "transcript": (*at, "--opportunity", "\x1b[2Jnone"),
        "export": (*at, "--format", "parquet", "--table", "\x1b[2Jnone"),
    }
    for name, arguments in commands.items():
        _, said = day.run(name.split()[0], *arguments)
        found = FORBIDDEN.findall(said)
        attack.expect(bool(said) and not found, f"{name}: {sorted(set(map(ascii, found)))}")
    made = _COLOR.sub("", day.printed.getvalue())  # Dagster colors its own log
    attack.expect(not FORBIDDEN.search(made), f"bids or settle: {FORBIDDEN.findall(made)[:5]}")
    _, said = day.run("sql", "select prosumer_id from fleet.quarantine")
    attack.expect("\\x1b[2J1" in said, "the id of a row that was set aside is not shown")
    return attack


def spreadsheets(day: HostileDay) -> Attack:
    """No text of an exported CSV is one that a spreadsheet calculates; --raw gives it as it is."""
    attack = Attack("formulas in CSV")
    tables = ("fleet.prosumers", "fleet.quarantine", "fleet.notes", "bids.final_bids", "explain.statement")
    raw_formulas = 0
    for table in tables:
        for raw in ((), ("--raw",)):
            file = day.folder / "out.csv"
            status, said = day.run(
                "export", "--date", str(DAY), "--format", "csv", "--table", table, "--out", str(file), *raw
            )
            attack.expect(status == 0, f"{table}: {said}")
            with file.open(newline="", encoding="utf-8") as lines:
                cells = [cell for row in csv.DictReader(lines) for cell in row.values() if cell]
            formulas = [cell for cell in cells if re.match(FORMULA, cell) and not _is_number(cell)]
            raw_formulas += len(formulas) if raw else 0
            attack.expect(bool(raw) or not formulas, f"{table}: {formulas[:3]}")
    attack.expect(raw_formulas > 0, "the day has no formula, so that nothing was tried")
    return attack


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def file_names(day: HostileDay) -> Attack:
    """Files named after owners lie in the folder that was asked for, one for each."""
    attack, out = Attack("ids as names of files"), day.folder / "deep" / "er" / "statements"
    before = {file for file in day.folder.rglob("*") if out not in file.parents}
    status, said = day.run("statement", "--date", str(DAY), "--out", str(out))
    attack.expect(status == 0, said)
    _, answer = day.run("sql", "--json", "select distinct prosumer_id from explain.statement")
    paid = [row["prosumer_id"] for row in json.loads(answer)]
    attack.expect(len(list(out.iterdir())) == len(paid) > 3, f"{len(list(out.iterdir()))} files of {len(paid)} owners")
    after = {file for file in day.folder.rglob("*") if out not in file.parents}
    attack.expect(after - before <= {out, out.parent, out.parent.parent}, f"written elsewhere: {after - before}")
    attack.expect(not Path("/tmp/escaped.md").exists(), "/tmp/escaped.md")
    for file in out.iterdir():
        text = file.read_text(encoding="utf-8")
        active = re.findall(r"(?<!\\)<\w|(?<!\\)\]\(|(?<!\\)!\[", text)
        attack.expect(not active and not FORBIDDEN.search(text), f"{file.name}: {active}")
    return attack


def html(day: HostileDay) -> Attack:
    """The report holds hostile text as text, and a policy that lets nothing be loaded and no script run."""
    attack = Attack("the HTML report")
    page = (day.data / "reports" / f"{DAY}.html").read_text(encoding="utf-8")
    tree = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))
    elements = [element for element in tree.iter() if isinstance(element.tag, str)]
    kinds = {element.tag.rpartition("}")[2] for element in elements}
    attack.expect(not kinds & {"script", "iframe", "object", "embed", "form", "link", "base", "img"}, f"{kinds}")
    names = {name.lower() for element in elements for name in element.attrib}
    attack.expect(not {name for name in names if name.startswith("on") or name == "style"}, f"{names}")
    targets = {element.get("href", "#") for element in elements}
    attack.expect(all(target.startswith("#") for target in targets), f"{targets}")
    policy = next((one.get("content", "") for one in elements if one.get("http-equiv")), "")
    (style,) = (one.text or "" for one in elements if one.tag.endswith("style"))
    allowed = "'sha256-" + b64encode(sha256(style.encode()).digest()).decode() + "'"
    attack.expect(policy.startswith("default-src 'none';") and allowed in policy, f"policy: {policy}")
    attack.expect(not re.search(r"url\(|@import|expression\(", style), "the style sheet loads something")
    return attack


def desk(day: HostileDay) -> Attack:
    """Every page of the desk holds hostile text as text, and every link stays within the desk and leads somewhere."""
    attack, pages = Attack("the pages of the desk"), day.folder / "pages"
    status, said = day.run("desk", "--write", str(pages))
    attack.expect(status == 0, f"not written: {said[-300:]}")
    owners = 0
    for file in sorted(pages.rglob("*")):
        attack.expect(pages.resolve() in file.resolve().parents, f"{file} is elsewhere")
        if file.suffix != ".html" or not file.is_file():
            continue
        owners += file.parent.parent.name == "owners"
        tree = ElementTree.fromstring(file.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>"))
        elements = [element for element in tree.iter() if isinstance(element.tag, str)]
        kinds = {element.tag.rpartition("}")[2] for element in elements}
        attack.expect(
            not kinds & {"script", "iframe", "object", "embed", "form", "base", "img", "i", "raw"}, f"{kinds}"
        )
        names = {name.lower() for element in elements for name in element.attrib}
        attack.expect(not {name for name in names if name.startswith("on") or name == "style"}, f"{names}")
        for target in {element.get("href", "#") for element in elements} - {"#"}:
            path = unquote(target.partition("#")[0])
            is_ours = (file.parent / path).resolve().is_file() if path else target.startswith("#")
            attack.expect(is_ours, f"{file.relative_to(pages)} leads to {target}")
    attack.expect(owners == len(IDS), f"{owners} of {len(IDS)} owners have a page")
    return attack


def secrets(day: HostileDay) -> Attack:
    """Password and key of an address are in no file, table, footer, history, report or output."""
    attack = Attack("passwords of addresses")
    with pytest.MonkeyPatch.context() as patch:  # and where it fails
        for url in (f"http://desk:{CANARY}@127.0.0.1:9", f"http://desk:{CANARY}/x@[::1", f"ftp://d:{CANARY}@x y"):
            patch.setenv("VPP_OASIS_URL", url)
            patch.setenv("VPP_WEATHER_URL", url)
            patch.setenv("VPP_LLM_URL", url)
            attempts = (
                ("ingest", "--date", "2024-07-20"),
                ("ingest", "--from", "2024-07-20", "--to", "2024-07-21"),
                ("llm-check", "--llm-mode", "live"),
                ("bids", "--date", "2024-07-25"),
            )
            for command, *arguments in attempts:
                status, said = day.run(command, *arguments)
                attack.expect(status == 2, f"{command} {url}: {status} {said[-300:]}")
        patch.setenv("VPP_OASIS_URL", "http://127.0.0.1:9")
        patch.setenv("no_proxy", "")
        for proxy in (f"http://desk:{PROXY_CANARY}@127.0.0.1:9", f"socks5://d:{PROXY_CANARY}@h", f"u:{PROXY_CANARY}/@"):
            patch.setenv("http_proxy", proxy)
            status, said = day.run("ingest", "--date", "2024-07-20")
            attack.expect(status == 2, f"{proxy}: {status} {said[-300:]}")
    for place, text in texts_of(day.folder):
        found = [canary for canary in (CANARY, PROXY_CANARY) if canary in text]
        attack.expect(not found, f"{place}: {found}")
    for canary in (CANARY, PROXY_CANARY):
        attack.expect(canary not in day.printed.getvalue(), f"printed: {canary}")
    return attack


def texts_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Place and text of every file: as it is, and what tables in it hold."""
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        yield str(file.relative_to(folder)), file.read_bytes().decode("latin-1")
        if file.suffix == ".parquet":
            yield f"rows of {file.name}", _text(pl.read_parquet(file, hive_partitioning=False, glob=False))
        elif file.suffix == ".duckdb":
            with duckdb.connect(str(file), read_only=True) as connection:
                known = "select schema_name || '.' || table_name from duckdb_tables() where not internal"
                for (table,) in connection.execute(known).fetchall():
                    yield f"rows of {table}", repr(connection.execute(f"from {table}").fetchall())
        elif file.read_bytes()[:15] == b"SQLite format 3":
            with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
                yield f"rows of {file.name}", "\n".join(database.iterdump())


def _text(frame: pl.DataFrame) -> str:
    return "\n".join(map(repr, frame.select(pl.col(pl.String)).rows()))


#: questions that are answered
ANSWERED = (
    "select 1;",
    "with a as (select 1 as x) from a",
    "from range(3)",
    "values (1)",
    "show tables",
    "describe bids.final_bids",
    "summarize bids.final_bids",
    "explain select 1",
    "explain (format json) select 1",
    "explain analyze select 1",
    "select unnest([1, 2])",
    "from duckdb_tables()",
    "pivot (select 1 a) on a in (1)",
    "/* why */ select 1 -- because",
)
#: what is refused: it writes, reads other files, runs SQL that stands in a text, or ends the process
REFUSED = (
    "",
    " -- nothing",
    "\x00",
    "select 1; select 2",
    "select 1 \x00; call enable_logging()",
    "call enable_logging(storage='file', storage_path='{folder}/written')",
    "from enable_logging(storage='file', storage_path='{folder}/written')",
    "select (select 1 from enable_logging())",
    "with a as materialized (from enable_logging()) from a",
    "explain call enable_logging()",
    "explain analyze create table memory.main.a as select 1",
    "/* x */ explain create table memory.main.a (i int)",
    "from enable_profiling()",
    "from checkpoint('vpp')",
    "from arrow_scan(1, 2, 3)",
    "from pandas_scan(1)",
    "from python_map_function(1)",
    "from '/etc/passwd'",
    "from read_text('/etc/passwd')",
    "select * from bids.final_bids where exists (from glob('/*'))",
    "from sniff_csv('/etc/passwd')",
    "from parquet_metadata('{folder}/x.parquet')",
    "from query('from read_text(''/etc/passwd'')')",
    "from json_execute_serialized_sql('{{}}')",
    "select write_log('x')",
    "select sleep_ms(100000)",
    "select getenv('HOME')",
    "copy (select 1) to '{folder}/written'",
    "copy bids.final_bids from '/etc/passwd'",
    "export database '{folder}/written'",
    "import database '{folder}'",
    "attach '{folder}/written' as z",
    "detach vpp",
    "use memory",
    "install httpfs",
    "load httpfs",
    "update extensions",
    "set threads = 1",
    "set enable_external_access = true",
    "reset lock_configuration",
    "pragma version",
    "pragma enable_profiling",
    "create table memory.main.t (i int)",
    "create temp macro f() as 1",
    "create secret s (type s3)",
    "drop table bids.final_bids",
    "delete from bids.final_bids",
    "update bids.final_bids set bid_price_usd_per_mwh = 0",
    "insert into bids.final_bids from bids.final_bids",
    "with x as (insert into bids.final_bids from bids.final_bids returning *) from x",
    "merge into bids.final_bids using bids.final_bids as o on false when not matched then insert",
    "alter table bids.final_bids add column b int",
    "prepare a as select 1",
    "execute a",
    "begin",
    "vacuum",
    "checkpoint",
)


def statements(day: HostileDay) -> Attack:
    """One question is answered; whatever writes, reads elsewhere or ends the process is refused with status 2."""
    attack = Attack("statements of SQL")
    warehouse = day.data / "vpp.duckdb"
    before = set(day.folder.rglob("*")), warehouse.read_bytes()
    for question in ANSWERED:
        status, said = day.run("sql", question)
        attack.expect(status == 0, f"not answered: {question}: {said[-200:]}")
    for question in REFUSED:
        status, said = day.run("sql", question.format(folder=day.folder))
        attack.expect(status == 2 and said.startswith("error: "), f"{question}: {status} {said[-200:]}")
    after = set(day.folder.rglob("*")), warehouse.read_bytes()
    attack.expect(before == after, f"files changed: {before[0] ^ after[0]}")
    return attack


def modes(day: HostileDay) -> Attack:
    """Files and folders that commands made are for their user alone."""
    attack = Attack("files for one user")
    for path in sorted(day.folder.rglob("*")):
        if path.name not in OURS and not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            attack.expect(not mode & 0o077, f"{path.relative_to(day.folder)}: {mode:o}")
    return attack


ATTACKS = (terminal, spreadsheets, file_names, html, desk, statements, secrets, modes)
