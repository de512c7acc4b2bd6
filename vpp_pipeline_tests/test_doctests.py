"""Examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

from vpp_pipeline.core.provenance import PACKAGE

FILES = sorted(file for file in PACKAGE.rglob("*.py") if ">>> " in file.read_text(encoding="utf-8"))
MODULES = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in FILES]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0  # what differs is in the captured output


def test_ten_public_functions_and_more_carry_an_example() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [each for name in MODULES for each in finder.find(importlib.import_module(name)) if each.examples]
    assert len([each for each in found if not each.name.rpartition(".")[2].startswith("_")]) >= 10
