"""The page of the optimiser's benchmark: Markdown from the results of `bench_optimiser.py`.

Results are kept by part (`1 negotiated`, `6`, `9 2023-08-15 embedded 200`), each with the day and the load that it was
measured at, so that a run of some rows leaves the figures of the others as they are, with their date.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]
Results = dict[str, Any]  # command, machine, versions; parts: name -> {on, load, records}

IN_USE = {2_000: "column generation", 200: "exact method"}  # which of ours the product takes at that size
OURS = ("column generation", "exact method")
CLOSE = 1e-6  # relative, of objectives that agree
MARKS = {True: "yes", False: "**no**", None: ""}
HEAD = """\
# Benchmarks of the optimiser

Written by `{command}` from `benchmarks/results.json`; nothing here is by hand. Rows that a run leaves out keep their
figures and their date. Machine: {machine}. Versions: {versions}.

**Compare CPU seconds** (of all threads): the machine was shared with other work, at the load averages that the tables
name, from beginning to end of a measurement. That stretches wall clock.

Two days. *reference*: the prototype's model, in which every prosumer may sell all products in every hour.
*negotiated*: the project's own generator and negotiation at real SP15 prices, R = 10% of what is offered; above 20,000
prosumers it is the day of 20,000 many times over, each copy with its own size and prices."""
PEERS = """\
## Peers on one LP

The relaxation (z between 0 and 1) of one day in one run. Seconds are of the whole call: stating the day from arrays in
memory, compiling, solving, and reading the answer back; imports and kernels are loaded before. What takes less than 5
CPU seconds is the least of three runs, everything else one run; a program that reaches its limit of CPU is ended.

- *Column generation* and *exact method* are ours; the bold one is what `solve_day` takes at that size. Column
  generation also recovers every prosumer's schedule, and stops at a proven gap of 1e-6 (2,000) or 1e-9 (200). The exact
  method is CVXPY's compiled LP without the rows that cannot bind, in HiGHS.
- CVXPY with HiGHS and with CLARABEL takes the project's own formulation. linopy states the day from whole arrays of
  xarray. PyPSA has homes and products as buses; its components state balances, stores, efficiencies, solar,
  commitments, prices, and purchases. They cannot state reserve that is backed by stored energy, an inverter that energy
  and reserve share, cycles a day, or bids between a minimum and R with one z: these rows are added to its model by
  linopy, so that it solves the same LP. Left out is PyPSA's search for cycles in the power flow, of which
  these networks have none, and which took two thirds of its `optimize` at 200.
- HiGHS' own methods get the LP that CVXPY compiled; their seconds contain that, *solver* does not. Interior points are
  not turned into a vertex. HiPO needs the package highspy-extras; `ipm` means HiPO then, so IPX is named. PDLP is asked
  for 1e-6, the others for their defaults.
- *Off* is the relative difference from the objective of HiGHS' simplex. **Bold**: more than 1e-6; such an answer does
  not count as the best peer.
- ECOS is left out since 2026-11-30 ([ADR 0055](adr/0055-peers-of-the-benchmark.md))."""
END_TO_END = """\
## A whole day, end to end

`python -m vpp_pipeline bids --date … --prosumers N --set resources.participation=hourly` in an empty folder, fleet to
warehouse and report, with kernels compiled before. CPU is user and system time of the process; gaps are shares of what
bidding could add;
violations are those found by the checks that stop bids. Embedded prices are synthetic, real ones of SP15. 100,000 is
measured only when asked for (`--sizes`)."""
TARGETS = """\
## Targets

LP is the relaxation (z between 0 and 1); rows 1 and 2 come from the tables of peers below. Seconds are wall clock of
the whole call, CPU-s processor time. Rebuilt: stored energy, limits, and money computed anew from the powers by numpy
that shares nothing with the optimiser (`benchmarks/rebuild_schedule.py`)."""


def page(results: Results) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {number}" for name, number in sorted(results["versions"].items()))
    parts = {name: results["parts"][name] for name in sorted(results["parts"], key=_order)}
    peers, days = ([part for name, part in parts.items() if name[0] in rows] for rows in ("12", "9"))
    lines = [HEAD.format(**results | {"versions": versions}), "", TARGETS, "", *_targets(parts)]
    if peers:
        lines += ["", PEERS]
    for part in peers:
        lines += ["", *_peers(part)]
    if days:
        lines += ["", END_TO_END, "", *_days(days)]
    return "\n".join([*lines, ""])


def _order(name: str) -> list[tuple[int, str]]:
    """Rows and sizes as numbers, the rest as it is written."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in name.split()]


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*cells: str) -> list[str]:
    return [row(*cells), "|" + "---|" * len(cells)]


def _targets(parts: Results) -> Iterator[str]:
    yield from head("row", "measure", "target", "measured", "reached", "measured on, load")
    for name, part in parts.items():
        when = f"{part['on']}, {part['load']}"
        if name[0] != "9":
            for x in peer_targets(part) if name[0] in "12" else part["records"]:
                yield row(name[0], x["measure"], x["target"], x["measured"], MARKS[x["reached"]], when)


def peer_targets(part: Record) -> list[Record]:
    """What the peers of one day say about the targets of rows 1 and 2."""
    kind, prosumers, by_name = part["kind"], part["prosumers"], {x["program"]: x for x in part["records"]}
    mine, columns = by_name[IN_USE[prosumers]], by_name["column generation"]
    name, asked = f"N = {prosumers:,}, LP, {kind} day", part["gap"]
    gap = {
        "measure": f"{name}: gap of column generation",
        "target": f"≤ {asked}",
        "reached": columns["gap"] <= float(asked),
    }
    gap["measured"] = f"{columns['gap']:.1e} after {columns['sweeps']:.1f} sweeps, {columns['cpu_s']:.2f} CPU-s"
    peers = [x for x in part["records"] if x["program"] not in OURS and off(x, true_usd(part)) <= CLOSE]
    best, quickest = (min(peers, key=lambda x: x[unit]) for unit in ("cpu_s", "wall_s"))
    ratio = best["cpu_s"] / mine["cpu_s"]
    text = f"**{ratio:.1f}x** by CPU ({best['program']}, {best['cpu_s']:.2f} against {mine['cpu_s']:.2f} CPU-s), "
    text += f"{quickest['wall_s'] / mine['wall_s']:.1f}x by wall clock ({quickest['program']})"
    if mine is not columns:
        text += f"; column generation: {best['cpu_s'] / columns['cpu_s']:.1f}x by CPU"
    target = part["times"]
    words = "parity or better" if target == 1.0 else f"≥ {target:g}x"
    fastest = {"measure": f"{name}: {IN_USE[prosumers]} against the best peer", "target": words, "measured": text}
    return [gap, fastest | {"reached": round(ratio, 1) >= target}]


def true_usd(part: Record) -> float:
    """The optimum: by HiGHS' simplex, or by our exact method where that is absent."""
    by_name = {x["program"]: x for x in part["records"]}
    return float(by_name["HiGHS simplex"].get("objective_usd", by_name["exact method"]["objective_usd"]))


def off(record: Record, true_usd: float) -> float:
    """Relative difference from the optimum; infinite where there is no answer."""
    return abs(record["objective_usd"] / true_usd - 1.0) if "objective_usd" in record else float("inf")


def _peers(part: Record) -> Iterator[str]:
    """One table: a program a line, ours first."""
    kind, prosumers, records = part["kind"], part["prosumers"], part["records"]
    by_name = {x["program"]: x for x in records}
    best_usd, mine = true_usd(part), by_name[IN_USE[prosumers]]
    size = f"{part['rows']:,} rows, {part['columns']:,} columns, {part['agreements']:,} agreements"
    yield f"### N = {prosumers:,}, {kind} day"
    yield ""
    yield f"Measured on {part['on']} at a load of {part['load']}; ${best_usd:.4f}; {size}."
    yield ""
    yield from head("program", "CPU-s", "wall s", "solver s", "off", "CPU against ours", "wall against ours")
    for x in records:
        name = f"**{x['program']}**" if x is mine else x["program"]
        if "failed" in x:
            yield row(name, x["failed"], "", "", "", "", "")
            continue
        difference = off(x, best_usd)
        accuracy = f"**{difference:.0e}**" if difference > CLOSE else f"{difference:.0e}" if difference else "0"
        accuracy += "" if x.get("status", "ok").lower() in ("optimal", "ok") else f", {x['status']}"
        ratios = [f"{x[unit] / mine[unit]:.1f}x" for unit in ("cpu_s", "wall_s")]
        inside = f"{x['solver_s']:.2f}" if "solver_s" in x else ""
        yield row(name, f"{x['cpu_s']:.2f}", f"{x['wall_s']:.2f}", inside, accuracy, *ratios)


def _days(parts: list[Record]) -> Iterator[str]:
    yield from head("day", "prices", "N", "bids", "gap", "violations", "CPU-s", "wall s", "memory", "measured on, load")
    for part in parts:
        for x in part["records"]:
            when = ", ".join([part["on"], part["load"], *([x["note"]] if "note" in x else [])])
            if "failed" in x:
                yield row(x["day"], x["prices"], f"{x['prosumers']:,}", x["failed"], "", "", "", "", "", when)
                continue
            memory = f"{x['peak_gb']:.2f} GB" if "peak_gb" in x else "not measured"
            spent = f"{x['cpu_s']:.1f}", f"{x['wall_s']:.1f}", memory
            gap = f"{100 * x['gap']:.3f}%"
            yield row(x["day"], x["prices"], f"{x['prosumers']:,}", x["bids"], gap, x["violations"], *spent, when)
