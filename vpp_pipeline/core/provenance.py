"""What made a result: release, version of the code and hashes of its inputs, so that it can be made again."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import polars as pl

PACKAGE = Path(__file__).parents[1]
#: what starts, serves and shows results but computes none
SHELL = ("cli", "defs", "reporting", "warehouse", "evaluation/backtest", "definitions.py", "__init__.py", "__main__.py")
__version__ = "0.2.0"

Name = tuple[str, str]  # module and a name in it: ``pipeline``, ``negotiate``; of a class ``DayInputs.forecast``
ALL, LOOSE = "*", ""  # every name of a module, and its statements that name nothing, which each name rests on


class Source(TypedDict):
    """A module: each name with a hash of the syntax that defines it and the names that it uses, and its imports."""

    names: dict[str, tuple[str, list[str]]]
    imports: dict[str, Name]


@cache
def code_version(*computed_by: str) -> str:
    """Release and a hash of the source that computes, e.g. ``0.2.0+3f2a9c1d``: an edited formula is another version.

    Of all of it, or of the functions ``computed_by`` (``pipeline.negotiate``) and what they use, annotations included,
    since settings have defaults. Comments, docstrings, and layout do not count, nor does what only starts, serves or
    shows results, unless it is named. Raises KeyError where there is no such function.
    """
    everything = [(module, ALL) for module in sorted(_modules()) if not _is_shell(module)]
    waiting = [_placed(name) for name in computed_by] or everything
    found: set[Name] = set()
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting += [other for other in _uses(*one) if _is_shell(one[0]) or not _is_shell(other[0])]
    digest = hashlib.sha256()
    for module, name in sorted(found):
        text, _ = _sources()[module]["names"].get(name, ("", []))
        digest.update(f"{module} {name} {text}\n".encode())
    return f"{__version__}+{digest.hexdigest()[:8]}"


def _placed(name: str) -> Name:
    """``inputs.day_inputs.DayInputs.forecast`` as its module and the rest."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module, rest = ".".join(parts[:count]), ".".join(parts[count:])
        if module in _modules() and rest in _sources()[module]["names"]:
            return module, rest
    raise KeyError(f"no function {name}")


def _uses(module: str, name: str) -> Iterator[Name]:
    """The names, of this module and others, that a name of it uses."""
    source = _sources()[module]
    yield module, LOOSE
    for used in source["names"][name][1] if name in source["names"] else [name]:
        if used in source["imports"]:
            of, imported = source["imports"][used]
            whole = f"{of}.{imported}".strip(".")
            yield (whole, ALL) if whole in _modules() else (of, imported)
        else:
            yield module, used if used in source["names"] else ALL


@cache
def _modules() -> dict[str, Path]:
    """The file of each module, by its name in the package: ``core.calendar``; that of ``schemas`` is in a folder."""
    files = {file.relative_to(PACKAGE).with_suffix(""): file for file in PACKAGE.rglob("*.py")}
    return {".".join(path.parts).removesuffix("__init__").strip("."): file for path, file in files.items()}


@cache
def _is_shell(module: str) -> bool:
    return any(_modules()[module].is_relative_to(PACKAGE / part) for part in SHELL)


@cache
def _sources() -> dict[str, Source]:
    """Every module, read. That takes a second, so that what was read is kept, by content, in the user's cache."""
    file = _cache_file()
    kept: dict[str, Source] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(file.read_text("utf-8")) if file else {}
    reader = hashlib.sha256(f"{sys.version}{Path(__file__).read_text('utf-8')}".encode()).digest()
    found, by_content = {}, {}
    for module, source in _modules().items():
        content = source.read_bytes()
        key = hashlib.sha256(reader + content).hexdigest()
        found[module] = by_content[key] = kept.get(key) or _read(content)
    if file and by_content.keys() != kept.keys():
        with suppress(OSError):  # nowhere to keep it
            file.parent.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(by_content), "utf-8")
            os.replace(draft, file)
    return found


def _cache_file() -> Path | None:
    """Where the sources of this installation are kept; None without a home."""
    with suppress(RuntimeError):
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vpp_pipeline"
        return folder / f"sources_{hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:8]}.json"
    return None


def _read(content: bytes) -> Source:
    tree = ast.parse(content)
    for node in ast.walk(tree):  # a text by itself, as a docstring, computes nothing
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [one for one in body if not _is_text(one)]
    nodes: dict[str, list[ast.AST]] = {LOOSE: []}
    for statement in (one for one in tree.body if not _is_import(one)):
        for name in _defined_by(statement) or {LOOSE}:
            nodes.setdefault(name, []).append(statement)
        if isinstance(statement, ast.ClassDef):  # each method as a name, with what the class is beside its methods
            methods = [one for one in statement.body if isinstance(one, ast.FunctionDef)]
            frame = [
                *statement.bases,
                *statement.decorator_list,
                *(one for one in statement.body if one not in methods),
            ]
            for method in methods:
                nodes.setdefault(f"{statement.name}.{method.name}", list(frame)).append(method)
    imports = dict(_imports_of(tree))
    known = nodes.keys() | imports.keys()
    nodes[ALL] = [tree]
    names = {name: (_hash_of(roots), sorted(_used_in(roots, name) & known)) for name, roots in nodes.items()}
    return {"names": names, "imports": imports}


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _hash_of(roots: Iterable[ast.AST]) -> str:
    return hashlib.sha256(" ".join(map(ast.dump, roots)).encode()).hexdigest()[:16]


def _defined_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    stored = (one for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store))
    return {one.id for one in stored}


def _is_import(statement: ast.stmt) -> bool:
    """Also under TYPE_CHECKING: what is imported counts where it is used."""
    only = statement.body if isinstance(statement, ast.If) else [statement]
    return all(isinstance(one, ast.Import | ast.ImportFrom) for one in only)


def _used_in(roots: Iterable[ast.AST], name: str) -> set[str]:
    """Every identifier, and of a method of class X ``self.y`` as ``X.y``."""
    found, of = set(), name.split(".")[0]
    for node in (one for root in roots for one in ast.walk(root)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            found.add(f"{of}.{node.attr}")
    return found


def _imports_of(tree: ast.AST) -> Iterator[tuple[str, Name]]:
    """Each name of this package that is imported anywhere in a module, and where it is from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            for alias in node.names:
                yield alias.asname or alias.name, (str(node.module)[len(PACKAGE.name) + 1 :], alias.name)


def frame_hash(frame: pl.DataFrame) -> str:
    """Hash of a table's columns and values, the same in every process, however the rows lie in memory."""
    return columns_hash(frame.schema, frame.iter_columns())


def columns_hash(schema: Mapping[str, pl.DataType], columns: Iterable[pl.Series]) -> str:
    """The same from columns that come one by one, so that no more than one need be in memory."""
    digest = hashlib.sha256("\n".join(f"{name} {kind}" for name, kind in schema.items()).encode())
    for column in columns:
        for values in _bytes_of(column):
            digest.update(values)
    return digest.hexdigest()


def _bytes_of(column: pl.Series) -> Iterator[memoryview]:
    """Which values are empty, then all values; of texts their lengths, then all letters in one."""
    import polars as pl  # here: whoever asks for the release alone need not wait for it

    yield column.is_null().to_numpy().data
    if column.dtype == pl.String:
        yield column.str.len_bytes().fill_null(0).to_numpy().data
        _, _, letters = column.fill_null("").rechunk().to_arrow().buffers()
        yield memoryview(letters or b"")
    else:
        empty = False if column.dtype == pl.Boolean else 0
        yield column.to_physical().fill_null(empty).to_numpy().data


def hashes_of(inputs: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    """The hash of each table."""
    return {name: frame_hash(frame) for name, frame in inputs.items()}


def fingerprint(inputs: Mapping[str, pl.DataFrame], settings: str) -> str:
    """One hash of tables, settings (as JSON) and code version."""
    return fingerprint_of(hashes_of(inputs), settings)


def fingerprint_of(hashes: Mapping[str, str], settings: str) -> str:
    """The same from the tables' own hashes."""
    digest = hashlib.sha256(f"{settings}\n{code_version()}".encode())
    for name in sorted(hashes):
        digest.update(f"{name} {hashes[name]}\n".encode())
    return digest.hexdigest()
