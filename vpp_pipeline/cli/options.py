"""Options that commands share, the settings they amount to, and the list of all settings."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click

from vpp_pipeline.core.errors import InputError, did_you_mean
from vpp_pipeline.core.paths import data_folder
from vpp_pipeline.core.portfolios import VARIABLE, portfolio_folder, portfolios, working_for

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from vpp_pipeline.inputs.day_inputs import DayInputs
    from vpp_pipeline.settings import Settings

FILE = click.Path(path_type=Path)
LLM_MODES = ("live", "replay", "refresh")
#: end of a setting's name -> unit, beyond the units of columns; the first that fits counts
UNITS = (
    ("usd_per_million_tokens", "$/million tokens"),
    ("usd_per_day", "$/day"),
    ("calls_per_day", "calls/day"),
    ("tokens_per_day", "tokens/day"),
    ("_seconds_per_thousand", "s/1,000 prosumers"),
    ("_seconds", "s"),
    ("_s", "s"),
    ("_deg", "°"),
    ("_days", "days"),
    ("_bytes", "bytes"),
    ("_tokens", "tokens"),
    ("_share", "0-1"),
    ("_probability", "0-1"),
)
#: how pydantic's bounds are written
BOUNDS = {"ge": "{:,g} or more", "gt": "above {:,g}", "le": "up to {:,g}", "lt": "below {:,g}"}


class MarketDate(click.ParamType[date]):
    """A trade date, written as 2023-08-15."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date. Leaves with a usage error for anything else."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date; write it as 2023-08-15", param, ctx)


MARKET_DATE = MarketDate()


@dataclass(frozen=True)
class Options:
    """What the shared options of a command hold; None where the command lacks one, or the user left it out."""

    data: Path
    portfolio: str | None = None
    prices: Path | None = None
    source: str | None = None
    node: str | None = None
    timezone: str | None = None
    meters: Path | None = None
    fleet: Path | None = None
    prosumers: int | None = None
    seed: int | None = None
    requests: Path | None = None
    resources: Path | None = None
    engine: str | None = None
    backend: str | None = None
    llm_mode: str | None = None
    pairs: tuple[str, ...] = ()

    @property
    def warehouse(self) -> Path:
        """The DuckDB file, with every publication in it."""
        from vpp_pipeline.data_settings import lake_of
        from vpp_pipeline.warehouse.publish import complete

        complete(lake_of(self.data), file := self.data / "vpp.duckdb")
        return file

    def price_config(self) -> dict[str, Any]:
        """Fields of the resource `prices_source` that differ from the defaults."""
        config = {
            "path": self.prices and str(self.prices.resolve()),
            "meters": self.meters and str(self.meters.resolve()),
            "node": self.node,
            "timezone": self.timezone,
            "kind": self.source,
        }
        return {name: value for name, value in config.items() if value is not None}

    def settings_config(self) -> dict[str, Any]:
        """Settings of this run, by group, checked as a whole; only those that differ from the defaults."""
        from vpp_pipeline.settings import llm_of_environment, read_settings, settings_beside

        of_environment = llm_of_environment()
        chosen = settings_beside(self.data)
        if of_environment:
            chosen["llm"] = {**chosen.get("llm", {}), **of_environment}
        named = {
            "fleet.path": self.fleet and str(self.fleet.resolve()),
            "fleet.prosumers": self.prosumers,
            "fleet.seed": self.seed,
            "negotiation.engine": self.engine,
            "optimiser.backend": self.backend,
            "llm.mode": self.llm_mode,
            "opportunities.requests": self.requests and str(self.requests.resolve()),
            "resources.path": self.resources and str(self.resources.resolve()),
        }
        if self.fleet is None and (self.prosumers is not None or self.seed is not None) and "fleet" in chosen:
            chosen["fleet"]["path"] = None  # a generated fleet is asked for, not that of the data folder's settings
        pairs = [f"{name}={value}" for name, value in named.items() if value is not None] + list(self.pairs)
        has_answers = {"llm.answers", "llm.store"} & {pair.partition("=")[0] for pair in pairs}
        if self.llm_mode == "replay" and not (has_answers or {"answers", "store"} & set(chosen.get("llm", {}))):
            from vpp_pipeline.llm.session import example_answers

            example = example_answers(self.data)
            pairs += [f"llm.answers={example}"] if example else []
        for pair in pairs:
            name, is_pair, value = pair.partition("=")
            group, _, setting = name.partition(".")
            if not (name and is_pair):
                raise InputError(
                    "a setting needs a name and a value", value=pair, remedy="Write --set GROUP.NAME=VALUE"
                )
            chosen.setdefault(group, {})[setting] = value
        return read_settings(chosen).model_dump(mode="json", exclude_unset=True)

    def settings(self) -> Settings:
        """The settings of this run."""
        from vpp_pipeline.settings import Settings

        return Settings.model_validate(self.settings_config())

    def inputs(self, market_date: date, settings: Settings) -> DayInputs:
        """What the day's bids would be made from, read without a run."""
        from vpp_pipeline.defs.resources import Prices, Storage, prices_beside
        from vpp_pipeline.defs.run_inputs import inputs_of
        from vpp_pipeline.warehouse.day import BY_HAND

        source = Prices(**prices_beside(self.data), **self.price_config())
        return inputs_of("", market_date, settings, source, Storage(data_folder=str(self.data), owner=BY_HAND))


def with_options(*declared: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator of a command: the ``declared`` options of its command line, the shared ones as one `Options`.

    With a portfolio, ``data`` is its folder.
    """
    shared = {field.name for field in fields(Options)}

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(run)
        def call(**chosen: Any) -> None:
            own = {name: chosen.pop(name) for name in shared & chosen.keys()}
            with working_for(own.get("portfolio") or ""):
                if "portfolio" in own:
                    own["data"] = portfolio_folder(own["data"], own["portfolio"] or "")
                run(Options(**own), **chosen)

        return functools.reduce(lambda command, option: option(command), reversed(declared), call)

    return decorate


def _setting_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completions of ``--set``: names, and behind the equals sign the values of a setting that has a few."""
    from click.shell_completion import CompletionItem

    given, (name, is_pair, _) = {n: field for n, field, by in _fields() if by == "--set"}, incomplete.partition("=")
    if is_pair:
        values = [f"{name}={value}" for value in _choices(given[name])] if name in given else []
        return [CompletionItem(pair) for pair in values if pair.startswith(incomplete)]
    begin = incomplete or ("llm." if str(parameter.metavar).startswith("llm.") else "")
    return [CompletionItem(f"{n}=", help=field.description) for n, field in given.items() if n.startswith(begin)]


def _engines(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    engines = _choices({name: field for name, field, _ in _fields()}["negotiation.engine"])
    return [name for name in engines if name.startswith(incomplete)]


def _portfolios(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    named = context.params.get("data") or data_folder()
    return [name for name in portfolios(named) if name.startswith(incomplete)]


def llm_mode(*choices: str, words: str, required: bool = False) -> Callable[..., Any]:
    """The option --llm-mode, one of ``choices``."""
    named = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return click.option(
        "--llm-mode", type=click.Choice(choices), required=required, metavar="MODE", help=f"{words} {named}."
    )


def setting(metavar: str = "NAME=VALUE", example: str = "negotiation.rounds=5") -> Callable[..., Any]:
    """The option --set, which may be given several times."""
    words = f"Any setting, e.g. {example}; as often as needed. `vpp-pipeline settings` lists them."
    return click.option("--set", "pairs", multiple=True, metavar=metavar, help=words, shell_complete=_setting_names)


DATE = click.option(
    "--date", "market_date", type=MARKET_DATE, required=True, metavar="DATE", help="Trade date, e.g. 2023-08-15."
)
DATA_FOLDER = click.option(
    "--data",
    type=FILE,
    default=data_folder,
    help="Folder of lake and warehouse. [default: data, or $VPP_DATA_FOLDER]",
)
PORTFOLIO = click.option(
    "--portfolio",
    metavar="NAME",
    envvar=VARIABLE,
    shell_complete=_portfolios,
    help="Portfolio in that folder (docs/how-to.md). [default: none, or $VPP_PORTFOLIO]",
)


def DATA(command: Callable[..., Any]) -> Callable[..., Any]:  # a name like those of the options beside it
    """The options --data and --portfolio."""
    return DATA_FOLDER(PORTFOLIO(command))


JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document: public column names, numbers unrounded."
)
NO_HISTORY = click.option(
    "--no-history",
    "keeps_history",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave Dagster's run history alone, as where it is damaged; the run is not in its UI then.",
)
SOURCE = (
    click.option(
        "--source",
        type=click.Choice(["oasis", "file", "synthetic"]),
        metavar="NAME",
        help="Prices from oasis, file or synthetic. [default: as data/prices.toml says, else synthetic]",
    ),
    click.option("--prices", type=FILE, help="File or folder of market prices."),
    click.option("--node", metavar="NAME", help="Pricing node, e.g. TH_SP15_GEN-APND."),
    click.option(
        "--timezone",
        metavar="ZONE",
        help="Zone of times without an offset in files of prices and meters, e.g. America/Los_Angeles.",
    ),
)
ENGINE = click.option(
    "--engine",
    metavar="NAME",
    shell_complete=_engines,
    help="Negotiation engine: concession, uniform_clearing or llm. [default: concession]",
)
BACKEND = click.option(
    "--backend",
    type=click.Choice(["local", "ray"]),
    metavar="NAME",
    help="Where a large fleet is held: local, or ray, a cluster (docs/scaling.md). [default: local]",
)
DESK = (
    click.option("--fleet", type=FILE, help="CSV or Parquet file of your fleet. [default: a generated one]"),
    click.option("--prosumers", type=int, metavar="N", help="Size of the generated fleet. [default: 200]"),
    click.option("--seed", type=int, metavar="N", help="Seed of the generated fleet."),
    click.option("--meters", type=FILE, help="File or folder of metered hours (docs/meters.md)."),
    click.option("--requests", type=FILE, help="CSV of requests. [default: data/opportunities.csv, else one example]"),
    click.option("--resources", type=FILE, help="CSV of resources (docs/fleet.md). [default: one for all]"),
    setting(),
)


def print_json(document: Mapping[str, Any] | list[Any]) -> None:
    """Print ``document`` as JSON: tables as lists of rows, moments in ISO 8601, what is not a finite number as null."""
    import json

    # in ASCII: letters beyond it are escaped, also those that a terminal would obey
    click.echo(json.dumps(_plain(document), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None  # NaN compares false
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if hasattr(value, "iter_rows"):  # a table of polars, which is not imported for this
        return [_plain(row) for row in value.iter_rows(named=True)]
    if hasattr(value, "as_tuple"):  # a decimal
        return _plain(float(value))
    return str(value)


def _groups() -> Iterator[tuple[str, type[BaseModel], str]]:
    """Name and model of each group of settings, and where its settings are given."""
    from vpp_pipeline.data_settings import LakeSettings, OasisSettings, RetentionSettings, WeatherSettings
    from vpp_pipeline.settings import Settings

    for group, field in Settings.model_fields.items():
        yield group, type(field.default), "--set"
    yield "oasis", OasisSettings, "data/prices.toml"
    yield "weather", WeatherSettings, "data/prices.toml"
    yield "retention", RetentionSettings, "data/prices.toml"
    yield "lake", LakeSettings, "data/prices.toml"


def _fields() -> Iterator[tuple[str, FieldInfo, str]]:
    """``group.name`` of every setting, its field, and where it is given."""
    for group, model, given_by in _groups():
        for name, field in model.model_fields.items():
            yield f"{group}.{name}", field, given_by


def all_settings() -> Iterator[dict[str, Any]]:
    """Every setting, group by group: name, default, unit, allowed values, description, and where it is given."""
    from vpp_pipeline.settings import OWNERS_VARIABLES

    for name, field, given_by in _fields():
        group, _, last = name.partition(".")
        is_plain = field.default is None or isinstance(field.default, bool | int | float)
        yield {
            "name": name,
            "default": field.default if is_plain else str(field.default),
            "unit": unit_of_setting(last, field),
            "allowed": _allowed(field),
            "choices": list(_choices(field)),
            "description": field.description or "",
            "given_by": given_by,
            "environment_variable": OWNERS_VARIABLES.get(last) if group == "llm" else None,
        }


def unit_of_setting(name: str, field: FieldInfo) -> str:
    """The unit that the name ends in; empty for counts, names and switches."""
    import dataframely as dy

    from vpp_pipeline.schemas.columns import unit_of

    for end, unit in UNITS:
        if name.endswith(end):
            return unit
    is_number = float in (field.annotation, *get_args(field.annotation))
    return unit_of(name, dy.Float64() if is_number else dy.String())


def _choices(field: FieldInfo) -> tuple[str, ...]:
    if field.annotation is bool:
        return ("true", "false")
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _allowed(field: FieldInfo) -> str:
    """The values that a setting may have, where its field declares them: ``1 to 10``, ``above 0``, ``a, b or c``."""
    if choices := _choices(field):
        return " or ".join([", ".join(choices[:-1]), choices[-1]])
    bounds = {name: getattr(rule, name) for rule in field.metadata for name in BOUNDS if hasattr(rule, name)}
    if "ge" in bounds and "le" in bounds:
        return f"{bounds['ge']:,g} to {bounds['le']:,g}"
    return ", ".join(text.format(bounds[name]) for name, text in BOUNDS.items() if name in bounds)


def _matching(words: str) -> list[dict[str, Any]]:
    """Settings whose name begins with ``words``; else those that have them in name or description."""
    found, words = list(all_settings()), words.lower()
    if by_name := [one for one in found if one["name"].startswith(words)]:
        return by_name
    if by_word := [one for one in found if words in f"{one['name']} {one['description']}".lower()]:
        return by_word
    close = did_you_mean(words, [*(one["name"] for one in found), *(group for group, _, _ in _groups())])
    raise InputError(f"no setting matches {words}{close}", remedy="`vpp-pipeline settings` lists them all")


@click.command("settings")
@click.argument("words", required=False, default="", metavar="[NAME|WORD]")
@JSON
def settings_command(words: str, as_json: bool) -> None:
    """List the settings: default, unit, allowed values, meaning.

    \b
    vpp-pipeline settings                all of them, by group
    vpp-pipeline settings negotiation    one group, or one setting by its name
    vpp-pipeline settings gap            every setting that mentions a word

    Change one for a run by --set, e.g. --set negotiation.rounds=5, and for all runs on a data folder in its
    settings.toml. The groups oasis and weather are tables of data/prices.toml.
    """
    found = _matching(words)
    if as_json:
        print_json(found)
        return
    width = shutil.get_terminal_size((100, 24)).columns
    for group, model, given_by in _groups():
        rows = [one for one in found if one["name"].startswith(f"{group}.")]
        if rows:
            where = "" if given_by == "--set" else f" ({given_by})"
            click.secho(f"{group}{where}: {' '.join((model.__doc__ or '').split())}\n", bold=True)
        for one in rows:
            click.echo(f"  {_headline(one)}")
            click.echo(click.wrap_text(one["description"], width, " " * 6, " " * 6) + "\n")


def _headline(one: Mapping[str, Any]) -> str:
    """``negotiation.rounds = 3  [1 to 10]``."""
    default = one["default"]
    text = "(empty)" if default is None else str(default).lower() if isinstance(default, bool) else f"{default}"
    variable = one["environment_variable"]
    unit = "" if one["unit"] == "0-1" and "to" in one["allowed"] else one["unit"]
    facts = [unit, one["allowed"], variable and f"environment variable {variable}"]
    known = "; ".join(fact for fact in facts if fact)
    return f"{one['name']} = {text}" + (f"  [{known}]" if known else "")
