"""The command line without a run: help, completion, verbosity, exit statuses, and the list of settings."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from vpp_pipeline.cli.main import INTERRUPTED, commands, main
from vpp_pipeline.cli.options import all_settings
from vpp_pipeline.core.paths import project_folder
from vpp_pipeline.core.provenance import __version__
from vpp_pipeline.data_settings import LakeSettings, OasisSettings, RetentionSettings, WeatherSettings
from vpp_pipeline.settings import Settings

DOCS = project_folder() / "docs"
PAGES = [project_folder() / "README.md", *sorted({*DOCS.glob("*.md")} - {DOCS / "data_dictionary.md"})]
COMMAND = re.compile(r"(?:python -m vpp_pipeline|vpp-pipeline) ([a-z][a-z-]* [^`|]*?)\s*(?:`|\||#|<|$)", re.MULTILINE)


def completed(*arguments: str) -> set[str]:
    """What the shell offers for the last of ``arguments``."""
    *before, incomplete = arguments
    found = ShellComplete(commands, {}, "vpp-pipeline", "_VPP_PIPELINE_COMPLETE").get_completions(before, incomplete)
    return {item.value for item in found}


def test_the_help_imports_nothing_heavy():
    script = """
import sys
from vpp_pipeline.cli.main import main
assert main(["--help"]) == 0
assert main(["bids", "--help"]) == 0
print([name for name in ("cvxpy", "dagster", "duckdb", "numpy", "polars", "pydantic", "rich") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_is_under_one_heading_and_told_on_one_line(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {f"{heading}:" for heading in commands.headings} <= set(lines)
    listed = [line.split()[0] for line in lines[lines.index("Options:") :] if re.match(r"  [a-z][a-z-]+  ", line)]
    assert sorted(listed) == sorted(commands.commands)
    for name, command in commands.commands.items():
        assert len(command.get_short_help_str(limit=200)) <= 60, name
        assert main([name, "--help"]) == 0
        assert all(len(line) <= 110 for line in capsys.readouterr().out.splitlines()), name


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vpp-pipeline, version {__version__}\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documents_can_be_read(page: Path):
    for line in COMMAND.findall(page.read_text(encoding="utf-8")):
        filled = re.sub(r"\bN\b", "30", line.replace("…", "2023-08-15"))  # placeholders
        name, *arguments = (word.strip("[]") for word in shlex.split(filled))
        if "--help" in arguments:
            continue
        context = commands.commands[name].make_context(name, arguments)
        named = {pair.partition("=")[0] for pair in context.params.get("pairs", ())}
        assert named <= {setting["name"] for setting in all_settings()}


def test_settings_in_the_documents_exist():
    """Of groups that are no schema of the warehouse, whose tables are written in the same way."""
    known = {setting["name"] for setting in all_settings()}
    groups = {name.partition(".")[0] for name in known} - {"fleet", "negotiation"}
    dotted = re.compile(rf"`(?:--set )?((?:{'|'.join(sorted(groups))})\.[a-z_]+)\b(?!\.|\()")
    for page in PAGES:
        named = set(dotted.findall(page.read_text(encoding="utf-8"))) - {"llm.sqlite"}
        assert named <= known, page.name


def test_commands_options_and_settings_are_completed():
    assert completed("com") == {"compare-engines", "compare-notes"}
    assert {"--date", "--data", "--prosumers", "--set"} <= completed("bids", "--")
    assert completed("bids", "--set", "negotiation.r") == {"negotiation.rounds=", "negotiation.ranking="}
    assert completed("bids", "--set", "payments.rule=") == {"payments.rule=agreed", "payments.rule=owen"}
    assert completed("bids", "--engine", "u") == {"uniform_clearing"}
    assert {name.partition(".")[0] for name in completed("llm-check", "--set", "")} == {"llm"}
    assert not {name for name in completed("bids", "--set", "") if name.startswith("oasis.")}


def test_a_shell_gets_its_script():
    environment = {**os.environ, "_VPP_PIPELINE_COMPLETE": "zsh_source"}
    done = subprocess.run(
        [sys.executable, "-m", "vpp_pipeline"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("#compdef vpp-pipeline")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bidds"], "No such command 'bidds'. Did you mean 'bids'?"),
        (["bids", "--prosumer", "30"], "No such option '--prosumer'. Did you mean '--prosumers'?"),
        (["bids", "--date", "15 August"], "'15 August' is not a date; write it as 2023-08-15"),
        (["backtest", "--from", "2023-08-15", "--to", "2023-08-16", "--arms", "gredy"], "did you mean greedy?"),
        (["settings", "negotation"], "no setting matches negotation; did you mean negotiation?"),
    ],
)
def test_what_is_misspelled_is_suggested(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["settings", "fleet.seed"], logging.WARNING),
        (["-v", "settings", "fleet.seed"], logging.INFO),
        (["settings", "fleet.seed", "--verbose"], logging.INFO),
        (["-vv", "settings", "fleet.seed"], logging.DEBUG),
        (["-v", "settings", "-v", "fleet.seed"], logging.DEBUG),
    ],
)
def test_verbosity_is_asked_for_before_or_behind_the_command(
    arguments: list[str], level: int, capsys: pytest.CaptureFixture[str]
):
    assert main(arguments) == 0
    logger = logging.getLogger("vpp_pipeline.cli")
    assert logger.getEffectiveLevel() == level
    logger.info("a step")
    logger.warning("a doubt")
    assert capsys.readouterr().err == ("a step\n" if level < logging.WARNING else "") + "warning: a doubt\n"


def test_an_interrupted_command_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Interrupted(io.StringIO):
        def read(self, size: int | None = -1) -> str:
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupted())
    assert main(["sql", "-"]) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "vpp_pipeline", "settings"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_setting_is_listed_with_default_unit_bounds_and_description(capsys: pytest.CaptureFixture[str]):
    assert main(["settings", "--json"]) == 0
    listed = {setting["name"]: setting for setting in json.loads(capsys.readouterr().out)}
    groups = {name: type(field.default) for name, field in Settings.model_fields.items()}
    groups |= {"oasis": OasisSettings, "weather": WeatherSettings, "retention": RetentionSettings, "lake": LakeSettings}
    assert set(listed) == {f"{group}.{name}" for group, model in groups.items() for name in model.model_fields}
    assert listed["negotiation.rounds"]["default"] == 3
    assert listed["negotiation.rounds"]["allowed"] == "1 to 10"
    assert listed["negotiation.engine"]["choices"] == ["concession", "uniform_clearing", "llm"]
    assert listed["rules.energy_price_cap_usd_per_mwh"]["unit"] == "$/MWh"
    assert listed["optimiser.time_limit_seconds"]["unit"] == "s"
    assert listed["llm.base_url"]["environment_variable"] == "VPP_LLM_URL"
    assert listed["oasis.interval_s"]["given_by"] == "data/prices.toml"
    assert [name for name, setting in listed.items() if len(setting["description"]) < 10] == []
    for name, setting in listed.items():  # what is a number with a dimension has a unit
        if re.search(r"_(mw|usd|mwh|kw|kwh|h|s|seconds|hours|days|fraction|share|deg)$", name):
            assert setting["unit"], name


def test_settings_are_found_by_group_name_or_word(capsys: pytest.CaptureFixture[str]):
    def names(*words: str) -> list[str]:
        assert main(["settings", *words]) == 0
        return re.findall(r"^  (\w+\.\w+) = ", capsys.readouterr().out, re.MULTILINE)

    assert set(names("negotiation")) == {s["name"] for s in all_settings() if s["name"].startswith("negotiation.")}
    assert names("negotiation.rounds") == ["negotiation.rounds"]
    assert "optimiser.gap_warning_fraction" in names("wider MIP gap")
    assert main(["settings", "negotiation.rounds"]) == 0
    assert "  negotiation.rounds = 3  [1 to 10]\n" in capsys.readouterr().out
