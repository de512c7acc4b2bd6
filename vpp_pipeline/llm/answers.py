"""Stored answers as JSON lines, to be read, compared and kept in version control: the first line says what they are."""

from __future__ import annotations

import json
from pathlib import Path

from vpp_pipeline.core.errors import InputError
from vpp_pipeline.llm.ports import LLMReply, LLMUsage
from vpp_pipeline.llm.store import CallStore, StoredReply


def export_answers(store: CallStore, file: Path, label: str) -> int:
    """Write all answers of ``store`` to ``file``, under a ``label`` that says who gave them; returns their number."""
    replies = store.replies()
    lines = [json.dumps({"label": label}), *(json.dumps(reply, sort_keys=True) for reply in replies)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(replies)


def read_answers(file: Path) -> dict[str, StoredReply]:
    """Answers by key. Raises InputError where the file is not one of `export_answers`."""
    remedy = "llm.answers takes a file that export_answers wrote; leave it empty to go without"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"stored answers cannot be read: {type(error).__name__}", file=file, remedy=remedy) from None
    found: dict[str, StoredReply] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if number == 1:
                row["label"]
                continue
            usage = LLMUsage(row["input_tokens"], row["output_tokens"])
            found[row["key"]] = StoredReply(LLMReply(row["text"], row["model_version"], usage), row["provider"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"not a stored answer: {type(error).__name__}", file=file, row=number, remedy=remedy
            ) from None
    return found
