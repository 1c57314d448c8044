#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How soon the daemon answers a call that has met its lease.

    systemctl start agentcgd && python3 tests/bench/reaction.py [--json FILE]

A process allocates as fast as it can in a call whose lease is far too short, under a bound that
it nearly fills, so that each lease is longer by the decision over all calls. `reaction_ms` is from
the moment at which its memory is seen at memory.high to the moment at which memory.high is seen
higher; both are polled every 0.2 ms, by a process that competes for the same processors.
`chunk_ms` is the time to touch 1 MiB. Needs root, a daemon with the memory controller and no
other sessions.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from agentcg.daemon.client import Client, socket_path
from agentcg.daemon.messages import BeginCall, OpenSession

MIB = 1 << 20
BOUND_MIB = 500
GROW_MIB = 440
SESSION = "bench-reaction"
POLL_S = 0.0002


def grow(start: int, report: int) -> None:
    """In the child: allocate, and write how long each MiB took."""
    os.read(start, 1)
    content = b"x" * MIB
    held = []
    for _ in range(GROW_MIB):
        begun_s = time.monotonic()
        held.append(mmap.mmap(-1, MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        held[-1][:] = content
        os.write(report, struct.pack("d", time.monotonic() - begun_s))
    os._exit(0)


def watch(leaf: Path, pid: int) -> list[float]:
    """Seconds from being at the limit to a higher one, until the child has ended."""
    answers: list[float] = []
    high, met_s = _read(leaf / "memory.high"), None
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        now_s = time.monotonic()
        limit = _read(leaf / "memory.high")
        if limit > high:
            if met_s is not None:
                answers.append(now_s - met_s)
            high, met_s = limit, None
        elif met_s is None and _read(leaf / "memory.current") >= high:
            met_s = now_s
        time.sleep(POLL_S)
    return answers


def _read(file: Path) -> int:
    try:
        text = file.read_text().strip()
    except OSError:  # the call has ended
        return 0
    return 1 << 62 if text == "max" else int(text)


def measure() -> dict[str, object]:
    """One run."""
    client = Client(socket_path())
    before = client.host().memory_max_bytes
    client.set_host_memory_max(BOUND_MIB * MIB)
    client.open_session(OpenSession(name=SESSION, priority="low"))
    start_read, start_write = os.pipe()
    report_read, report_write = os.pipe()
    os.set_blocking(report_read, False)
    try:
        pid = os.fork()
        if pid == 0:
            grow(start_read, report_write)
        call = client.begin(SESSION, BeginCall(tool="Bash", pid=pid))
        os.write(start_write, b".")
        answers = watch(Path(call.cgroup), pid)
        chunks = [value for (value,) in struct.iter_unpack("d", os.read(report_read, 1 << 20))]
    finally:
        client.close_session(SESSION, kill=True)
        client.set_host_memory_max(before)
    return {"reaction_ms": _spread(answers), "chunk_ms": _spread(chunks)}


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "count": len(seconds),
        "p50": round(statistics.median(seconds) * 1e3, 2),
        "max": round(max(seconds) * 1e3, 2),
    }


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    text = json.dumps(measure(), indent=2)
    if options.json is not None:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
