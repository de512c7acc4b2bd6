"""Attacks through feeds: damaged zips, and servers that hold a connection open without ever finishing."""

from __future__ import annotations

import io
import json
import random
import struct
import time
import zipfile
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from vpp_pipeline.core.errors import Again, WeatherError
from vpp_pipeline.data_settings import OasisSettings
from vpp_pipeline.forecasting.weather import irradiance_of, question
from vpp_pipeline.market.oasis.archive import energy_of_day
from vpp_pipeline.market.oasis.client import OasisClient, lmp_question
from vpp_pipeline.market.oasis.report import LMP_COLUMNS, OasisDownError, OasisError, Refusal, rows_of
from vpp_pipeline_tests.forecasting.weather_server import LocalWeather
from vpp_pipeline_tests.market.local_http import Dripping, dripping
from vpp_pipeline_tests.market.oasis.published import SP15, generated
from vpp_pipeline_tests.market.oasis.server import LocalOasis
from vpp_pipeline_tests.robustness.attack import Attack

DAY = date(2024, 7, 11)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
#: signature of a part of a zip -> where its fields begin
FIELDS = {b"PK\x03\x04": (4, 6, 8, 14, 18, 22, 26, 28), b"PK\x01\x02": (6, 8, 10, 16, 20, 24, 28, 30, 42)}
_VALUES = (
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-1", b"1" * 5_000, b'"x"', b'"\\ud800"', b"[]", b"{}"),
    *(b'{"time": 1}', b'["2024-07-11T07:00", 3]', b"[" * 50_000, b"[" * 50_000 + b"]" * 50_000, b'""', b"0", b"{,}"),
)
LIMIT_S, GRACE_S = 0.5, 2.0


def zips(cases: int, seed: int = 1) -> Attack:
    """Answers of OASIS damaged in a byte, a field, their length, or their content: each is asked for again or refused.

    Anything else that is raised got through.
    """
    attack, dice, whole = Attack("damaged zips"), random.Random(seed), _whole()
    expected = energy_of_day(rows_of(whole[0], LMP_COLUMNS), DAY, SP15)
    for _ in range(cases):
        answer = _damaged(dice.choice(whole), dice)
        try:
            prices = energy_of_day(rows_of(answer, LMP_COLUMNS), DAY, SP15)
        except (Again, Refusal, OasisError) as error:
            attack.repelled(type(error).__name__)
        except BaseException as error:
            attack.got_through(f"{type(error).__name__}: {error}")
        else:
            # a content of valid checksum is what the sender wrote
            attack.repelled("harmless" if prices.equals(expected) else "other content")
    return attack


@cache
def _whole() -> list[bytes]:
    """The same answer, by every compression that a zip knows, and a refusal."""
    oasis = LocalOasis(generated())
    question = lmp_question(DAY, DAY, SP15).parameters()
    with zipfile.ZipFile(io.BytesIO(oasis.answer(question, None))) as archive:
        name = archive.namelist()[0]
        content = archive.read(name)
    return [*(_zip(name, content, method) for method in METHODS), oasis.answer(question, "1000")]


def _zip(name: str, content: bytes, method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def _damaged(answer: bytes, dice: random.Random) -> bytes:
    return dice.choice((_bytes_changed, _field_changed, _cut, _content_changed, _many_files))(answer, dice)


def _bytes_changed(answer: bytes, dice: random.Random) -> bytes:
    torn = bytearray(answer)
    for _ in range(dice.randint(1, 8)):
        torn[dice.randrange(len(torn))] = dice.randrange(256)
    return bytes(torn)


def _field_changed(answer: bytes, dice: random.Random) -> bytes:
    """Another compression, an encrypted entry, an offset outside the file, a size that is none."""
    torn = bytearray(answer)
    kind = dice.choice(list(FIELDS))
    place = torn.find(kind)
    if place >= 0:
        at = place + dice.choice(FIELDS[kind])
        value = dice.choice((0, 1, 8, 9, 12, 14, 93, 99, 0x7FFF, 0xFFFF, dice.randrange(65_536)))
        struct.pack_into("<H", torn, at, value)
    return bytes(torn)


def _cut(answer: bytes, dice: random.Random) -> bytes:
    first, last = sorted(dice.sample(range(len(answer) + 1), 2))
    shorter = (answer[:last], answer[first:], answer[:first] + answer[last:], b"")
    return dice.choice((*shorter, answer + answer[first:last]))


def _content_changed(answer: bytes, dice: random.Random) -> bytes:
    """A sound zip with damaged text."""
    with zipfile.ZipFile(io.BytesIO(answer)) as archive:
        name = archive.namelist()[0]
        return _zip(name, _bytes_changed(archive.read(name), dice), dice.choice(METHODS))


def _many_files(answer: bytes, dice: random.Random) -> bytes:
    """More files than OASIS sends, some of them nonsense."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(answer)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as more:
        name = archive.namelist()[0]
        more.writestr(name, archive.read(name))
        for k in range(dice.choice((1, 3, 200))):
            more.writestr(f"../{k}{dice.choice(('.csv', '.xml', '.exe'))}", dice.randbytes(dice.randrange(60)))
    return out.getvalue()


def weather(cases: int, seed: int = 1) -> Attack:
    """Answers of the weather service with damaged bytes or another value in a value's place: as for zips."""
    attack, dice, here = Attack("damaged weather"), random.Random(seed), (33.9, -117.5)
    asked = question(*here, DAY)
    whole = LocalWeather().answer(asked, None)
    for _ in range(cases):
        answer = dice.choice((_bytes_changed, _cut, _value_changed))(whole, dice)
        try:
            rows = irradiance_of(answer, *here, DAY)
        except (Again, WeatherError) as error:
            attack.repelled(type(error).__name__)
        except BaseException as error:
            attack.got_through(f"{type(error).__name__}: {error}")
        else:
            sums = rows.drop("start_utc").sum_horizontal()
            attack.expect(rows.height == 24 and sums.is_finite().all(), f"{rows.height} rows, {sums}")
    return attack


def _value_changed(answer: bytes, dice: random.Random) -> bytes:
    """Another value in the place of one, also deep in the answer."""
    told = json.loads(answer)
    inside: Any = told
    key: Any = dice.choice(list(told))
    while isinstance(inside[key], dict | list) and inside[key] and dice.random() < 0.7:
        inside = inside[key]
        key = dice.choice(list(inside)) if isinstance(inside, dict) else dice.randrange(len(inside))
    inside[key] = "PLACE"
    return json.dumps(told).encode().replace(b'"PLACE"', dice.choice(_VALUES))


def drips(folder: Path) -> Attack:
    """Servers that send nothing, or a byte at a time: a question ends at its limit, and the gate is free at once."""
    attack = Attack("servers that drip")
    for part, server in _servers():
        settings = OasisSettings(
            url=server.url, gate=folder / "gate", interval_s=0.0, attempts=1, timeout_s=LIMIT_S, patience_s=LIMIT_S
        )
        began = time.monotonic()
        try:
            OasisClient(settings).ask(lmp_question(DAY, DAY, SP15), lambda rows: rows)
        except OasisDownError:
            took_s = time.monotonic() - began
            attack.expect(took_s < LIMIT_S + GRACE_S, f"{part}: ended after {took_s:.1f} s")
            attack.expect(server.is_left(GRACE_S), f"{part}: the connection is still open")
        else:
            attack.got_through(f"{part}: an answer came of it")
        began = time.monotonic()
        with OasisClient(settings)._gate.turn():
            attack.expect(time.monotonic() - began < GRACE_S, f"{part}: the gate was held")
    return attack


def _servers() -> Iterator[tuple[str, Dripping]]:
    for part in ("nothing", *Dripping.PARTS):
        with dripping(part, pause_s=0.05) as server:
            yield part, server
