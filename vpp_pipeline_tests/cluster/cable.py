"""A slow, lossy cable between two network namespaces, carried by a process: not every kernel has `tc netem`.

    python -m vpp_pipeline_tests.cluster.cable NAMESPACE DEVICE ADDRESS NAMESPACE DEVICE ADDRESS DELAY_S LOSS

A TUN device in each namespace gives its packets to this process, which hands each to the other after the delay, or
loses it. Both ways alike: a packet and its answer take twice the delay. Says `ready`, and ends with its standard input.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

SEED = 20230815
LARGEST_BYTES = 65_536
WAITING = 2_000  # packets on their way; more are lost, as in any queue
# of linux/if_tun.h
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


@dataclass(frozen=True)
class Link:
    """What a cable does to packets, each way."""

    delay_s: float = 0.0
    loss: float = 0.0  # fraction of packets


WIRE, SLOW = Link(), Link(delay_s=0.005, loss=0.01)


@dataclass(frozen=True)
class End:
    """Where a cable ends."""

    namespace: str
    device: str
    address: str  # with the length of its prefix


@contextmanager
def joined(ends: tuple[End, End], link: Link) -> Iterator[None]:
    """The two namespaces joined by such a cable, while the caller uses it."""
    words = [word for end in ends for word in (end.namespace, end.device, end.address)]
    command = [sys.executable, "-m", "vpp_pipeline_tests.cluster.cable", *words, repr(link.delay_s), repr(link.loss)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as carrier:
        assert carrier.stdin is not None
        assert carrier.stdout is not None
        try:
            if carrier.stdout.readline().strip() != "ready":
                raise RuntimeError("the cable was not made")
            yield
        finally:
            carrier.stdin.close()


def plug_in(end: End) -> int:
    """Make the end's device, up and with its address; the file that its packets are read from and written to."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", end.device.encode(), IFF_TUN | IFF_NO_PI))
    for words in (
        ("link", "set", end.device, "netns", end.namespace),
        ("-n", end.namespace, "address", "add", end.address, "dev", end.device),
        ("-n", end.namespace, "link", "set", end.device, "up"),
    ):
        subprocess.run(["ip", *words], check=True)
    return file


def carry(files: Sequence[int], link: Link, until: int) -> None:
    """Carry packets between the two ``files`` until file ``until`` ends."""
    drawn = random.Random(SEED)
    on_its_way: deque[tuple[float, int, bytes]] = deque()  # when due, to whom: every packet waits equally long
    other = dict(zip(files, reversed(files), strict=True))
    while True:
        wait_s = max(0.0, on_its_way[0][0] - time.monotonic()) if on_its_way else None
        ready, _, _ = select.select([*files, until], [], [], wait_s)
        if until in ready:
            return
        for file in ready:
            packet = os.read(file, LARGEST_BYTES)
            if drawn.random() >= link.loss and len(on_its_way) < WAITING:
                on_its_way.append((time.monotonic() + link.delay_s, other[file], packet))
        while on_its_way and on_its_way[0][0] <= time.monotonic():
            _, file, packet = on_its_way.popleft()
            os.write(file, packet)


def main() -> None:
    *ends, delay_s, loss = sys.argv[1:]
    files = [plug_in(End(*ends[:3])), plug_in(End(*ends[3:]))]
    print("ready", flush=True)
    carry(files, Link(float(delay_s), float(loss)), sys.stdin.fileno())


if __name__ == "__main__":
    main()
