"""The cable between two network namespaces: as slow and as lossy as it is asked to be."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vpp_pipeline_tests.cluster.cable import SLOW, WIRE, Link
from vpp_pipeline_tests.cluster.two_nodes import namespaces, why_not

SENT = 4_000
ECHO = """
import socket
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("10.77.0.2", 9))
print("ready", flush=True)
while True:
    heard.sendto(*heard.recvfrom(100))
"""
ASK = f"""
import json, socket, time
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asks.settimeout(0.1)
seconds = []
for start in range(0, {SENT}, 20):
    for number in range(start, start + 20):
        asks.sendto(repr(time.monotonic()).encode(), ("10.77.0.2", 9))
    try:
        for _ in range(20):
            sent = float(asks.recv(100))
            seconds.append(time.monotonic() - sent)
    except TimeoutError:
        pass
print(json.dumps(seconds))
"""


def answered(link: Link) -> list[float]:
    """Seconds until each of SENT packets came back, of those that did."""
    with namespaces(link) as (first, second, _):
        there = ["ip", "netns", "exec", second, sys.executable, "-c", ECHO]
        with subprocess.Popen(there, stdout=subprocess.PIPE, text=True) as echo:
            assert echo.stdout is not None
            echo.stdout.readline()
            here = ["ip", "netns", "exec", first, sys.executable, "-c", ASK]
            said = subprocess.run(here, capture_output=True, text=True, check=True).stdout
            echo.kill()
    found: list[float] = json.loads(said)
    return found


@pytest.mark.skipif(bool(why_not(SLOW)), reason=why_not(SLOW) or "they are")
def test_a_cable_is_as_slow_and_as_lossy_as_it_is_asked_to_be():
    """Of 4,000 packets there and back 1.99% are lost: 80, whose standard deviation is 9."""
    seconds = answered(SLOW)
    assert min(seconds) >= 0.010
    assert SENT - 125 <= len(seconds) <= SENT - 35


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "they are")
def test_a_cable_of_nothing_but_wire_loses_nothing():
    assert len(answered(WIRE)) == SENT
