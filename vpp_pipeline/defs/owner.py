"""Which choices belong to a run, and which to the owner of the machine alone.

Whoever reaches Dagster's web server may start a run with any configuration, and so may a page in the owner's browser.
So that configuration names no host, no key, no file to write to, and no file to read outside the data folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import dagster as dg
from pydantic.fields import FieldInfo

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.core.paths import data_folder
from vpp_pipeline.core.portfolios import FOLDER, portfolio, portfolio_folder
from vpp_pipeline.defs.resources import Desk, LakeIOManager, Prices, Storage, prices_beside
from vpp_pipeline.settings import OWNERS_VARIABLES, Settings, llm_of_environment, settings_beside
from vpp_pipeline.warehouse.day import BY_HAND

OWN_JOBS = ("bid_day", "settle_day")  # jobs that make a day's tables and publish them
OF_RUN = ("kind", "path", "node", "meters")  # of `Prices`; its other fields name folders and hosts
FILES = ("path", "meters")
#: settings that the launchpad begins with; it completes the others, with meaning and default
TEMPLATE = ("fleet.prosumers", "forecast.price", "negotiation.engine", "negotiation.rounds", "risk.scenarios")


@dataclass(frozen=True)
class Owner:
    """The choices of the owner: given on the command line, else by environment variable, else the defaults."""

    data: Path | None = None
    prices: Mapping[str, str] = field(default_factory=dict)  # fields of `Prices` beyond those of a run
    llm: Mapping[str, Any] | None = None
    names_any_file: bool = False  # whether runs may read files outside the data folder

    @property
    def folder(self) -> Path:
        """The data folder, that of the portfolio where there is one."""
        return self.data or portfolio_folder(data_folder(), portfolio())

    def settings(self) -> dict[str, dict[str, Any]]:
        """What the owner sets for runs that say nothing else, by group and name: the data folder's `settings.toml`."""
        return settings_beside(self.folder)

    def storage(self, context: dg.InitResourceContext) -> Storage:
        """Raises InputError for a run that is meant for another data folder."""
        asked = context.resource_config.get("data_folder")
        if asked is not None and Path(asked).resolve() != self.folder.resolve():
            raise InputError(
                "a run is meant for another data folder than this one",
                file=self.folder,
                column="data_folder",
                value=asked,
                remedy="Leave it out, start Dagster with that folder as VPP_DATA_FOLDER, or use --data on the command "
                "line",
            )
        return Storage(data_folder=str(self.folder), owner=writes_as(context.run))

    def prices_source(self, context: dg.InitResourceContext) -> Prices:
        """What the run names, and the owner's file of defaults. Raises InputError for a file that it may not read."""
        return self.prices_of(context.resource_config)

    def prices_of(self, chosen: Mapping[str, str | None]) -> Prices:
        """The same from the fields that a run names."""
        files = {name: self._readable(f"prices_source.{name}", chosen.get(name)) for name in FILES}
        named: dict[str, Any] = {**prices_beside(self.folder), **self.prices, **chosen, **files}
        return Prices(**named)

    def desk(self, context: dg.InitResourceContext) -> Desk:
        """The run's settings and the owner's. Raises InputError for a file that the run may not read."""
        groups = {group: dict(values) for group, values in context.resource_config.items()}
        for group, values in groups.items():
            for name in values:
                if _plain(_fields(group)[name])[0] is Path:
                    values[name] = self._readable(f"{group}.{name}", values[name])
        groups.setdefault("llm", {}).update(llm_of_environment() if self.llm is None else self.llm)
        owners = self.settings()
        return Desk(groups={group: {**owners.get(group, {}), **groups.get(group, {})} for group in owners | groups})

    def _readable(self, name: str, file: str | None) -> str | None:
        """Links in the data folder are the owner's own: only the text of the path is checked."""
        if not file or self.names_any_file:
            return file
        path, folder = os.path.abspath(file), os.path.abspath(self.folder)  # noqa: PTH100 (links are not followed)
        portfolios = os.path.join(folder, FOLDER)  # noqa: PTH118 (as above)
        is_others = Path(path.casefold()).is_relative_to(portfolios.casefold())  # those are desks of their own
        if is_others or not Path(path).is_relative_to(folder):
            raise InputError(
                "a run's configuration may name files of the data folder alone",
                file=self.folder,
                column=name,
                value=file,
                remedy="Put the file, or a link to it, there; or name it on the command line"
                + (" or in prices.toml" if name.startswith("prices") else ""),
            )
        return path


def writes_as(run: dg.DagsterRun | None) -> str:
    """In whose name a run's tables lie until they are published.

    A run of a whole job has its own, and so have runs that repeat it from where it failed. What single assets make,
    by hand, is kept together until it is published.
    """
    if run is None:
        return BY_HAND
    if run.root_run_id:
        return run.root_run_id
    is_whole = run.job_name in OWN_JOBS and not run.asset_selection and not run.resolved_op_selection
    return run.run_id if is_whole else BY_HAND


def run_part(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``settings`` without those of the owner, as run configuration."""
    return {
        group: {name: value for name, value in values.items() if not _is_owners(group, name)}
        for group, values in settings.items()
    }


def owners_part(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Those of ``settings`` that the owner alone decides on, all of group `llm`."""
    return {name: value for name, value in settings.get("llm", {}).items() if _is_owners("llm", name)}


def _is_owners(group: str, name: str) -> bool:
    return group == "llm" and name in OWNERS_VARIABLES


def _fields(group: str) -> dict[str, FieldInfo]:
    fields: dict[str, FieldInfo] = type(Settings.model_fields[group].default).model_fields
    return fields


def _plain(known: FieldInfo) -> tuple[type, bool]:
    """The type of a setting's values, and whether there may be none."""
    choices = get_args(known.annotation)
    inner = [kind for kind in choices if kind is not NoneType]
    kind: Any = inner[0] if NoneType in choices else known.annotation
    return (kind if kind in (int, float, bool, Path) else str), NoneType in choices


def _config_field(known: FieldInfo, is_shown: bool = False, owners: Any = None) -> dg.Field:
    """Dagster's field for a setting, whose default may be the owner's; one without a default of Dagster's is not
    written out in the launchpad.

    Of plain types: for a class of pydantic's, Dagster would also take ``{"env": NAME}`` in a value's place, and read
    any environment variable of its server.
    """
    kind, is_optional = _plain(known)
    plain: Any = str if kind is Path else kind
    if is_optional:
        plain = dg.Noneable(plain)
    if is_shown:
        return dg.Field(plain, default_value=known.default if owners is None else owners, description=known.description)
    default = "" if known.default is None else f" Default: {known.default}."
    return dg.Field(plain, is_required=False, description=f"{known.description}{default}")


def _group_field(group: str, owners: Mapping[str, Any]) -> dg.Field:
    fields = {
        name: _config_field(known, f"{group}.{name}" in TEMPLATE, owners.get(name))
        for name, known in _fields(group).items()
        if not _is_owners(group, name)
    }
    about = type(Settings.model_fields[group].default).__doc__
    if any(name.startswith(f"{group}.") for name in TEMPLATE):
        return dg.Field(fields, description=about)
    return dg.Field(fields, is_required=False, description=about)


def resources_of(owner: Owner) -> dict[str, dg.ResourceDefinition]:
    """The resources of Dagster's definitions, by key; their configuration is what a run may choose."""
    data_folder = dg.Field(
        dg.Noneable(str),
        is_required=False,
        description="The data folder that the run is meant for; with another one it fails. Empty: this server's.",
    )
    prices = {name: _config_field(Prices.model_fields[name]) for name in OF_RUN}
    owners: dict[str, dict[str, Any]] = {}
    with suppress(InputError):  # runs end with it; the pages stay
        owners = owner.settings()
    return {
        "storage": dg.ResourceDefinition(owner.storage, {"data_folder": data_folder}, Storage.__doc__),
        "prices_source": dg.ResourceDefinition(owner.prices_source, prices, Prices.__doc__),
        "desk": dg.ResourceDefinition(
            owner.desk,
            {group: _group_field(group, owners.get(group, {})) for group in Settings.model_fields},
            Desk.__doc__,
        ),
        "io_manager": dg.IOManagerDefinition(
            lambda context: LakeIOManager(context.resources.storage), {}, required_resource_keys={"storage"}
        ),
    }
