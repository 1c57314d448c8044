#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What admission, idle reclaim and forecasts are worth to real processes. In the guest, as root.

    tests/vm/guest run --timeout 1800 --push DIR:/srv/traces \\
        --fetch /tmp/ablation.json:.cache/bench -- \\
        python3 tests/bench/ablation_guest.py --traces /srv/traces --json /tmp/ablation.json

The other half of `ablation.py`: six agents, drawn by `--seed` from the traces of DIR, are played as
`agentcg replay` does, each a window of `--window` recorded seconds around its peak, the first of
high priority and the others low, with memory for the sum of their peaks divided by `--overcommit`
and swap on zram. One row each: `room` (that sum, no control: what the others are compared with),
no control without swap, no control and static bounds with it, and the daemon under the policies of
`ablation.py`. The daemon is started anew for each, and knows no call of the one before.

`slower`: mean over the agents that survive, against the same agent with room; `held up`: seconds in
which all of an agent's processes waited for memory; `zram`: the most memory that it took, which
is not part of the limit. Durations of the policies are divided by the speed, as those of the plans.
A row takes some 90 s where others use the processors, too; `--only` chooses rows, and each is
printed, and written, when it is there. Under emulation what goes to zram and back costs twenty
times what it costs a real processor, while the agents' own waiting does not: rows with swap look
worse than they are.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ablation import IDLE, VARIANTS, WAIT_S

from agentcg.daemon.messages import Priority
from agentcg.daemon.policybench.mixes import Size
from agentcg.daemon.policybench.windows import around_peak
from agentcg.daemon.policybench.zram import swap_on_zram
from agentcg.daemon.replay.campaign import Campaign, Settings, describe, machine
from agentcg.daemon.replay.controls import ControlName
from agentcg.daemon.replay.plan import Shape, build
from agentcg.daemon.replay.result import RunResult, SessionResult
from agentcg.daemon.replay.trace import Trace
from agentcg.daemon.simulate.sources import read
from cgroup_support import until
from daemon_support import Api
from systemd_support import SOCKET, accounting, policy, systemctl

DROP_IN = Path("/run/systemd/system/agentcgd.service.d/bench.conf")
OPTIONS = "--no-guard --bpf off --state none"  # its programs take minutes to compile in a guest
MEMORY_SHARE = 0.75  # of the machine: the sum of the peaks, so that there is room for `room`
TRIES = 1000
SWAP_BYTES = 2 << 30
IDLE_AFTER_S = 2.0


@dataclass(frozen=True)
class Row:
    """One way to play the same agents."""

    name: str
    control: ControlName
    policy: str = ""
    swap: bool = True
    room: bool = False


def rows(speed: float) -> list[Row]:
    """All of them, `room` first."""
    assert f"after: {IDLE_AFTER_S:g}s" in IDLE
    quick = f"after: {IDLE_AFTER_S / speed:.2f}s"
    found = [
        Row("room", "none", swap=False, room=True),
        Row("no control, no swap", "none", swap=False),
        Row("no control", "none"),
        Row("static", "static"),
    ]
    for name, text in VARIANTS.items():
        quicker = text.replace(f"after: {IDLE_AFTER_S:g}s", quick)
        found.append(Row(name, "agentcg", f"version: 1\n{quicker}"))
    return found


def drawn(traces: list[Trace], agents: int, window_s: float, seed: int) -> list[Trace]:
    """Who plays: the first draw for whose peaks this machine has room."""
    most_bytes = psutil.virtual_memory().total * MEMORY_SHARE
    for attempt in range(TRIES):
        source = random.Random(f"{seed}/{attempt}")
        cast = [
            around_peak(trace, window_s, source.uniform(0.2, 0.8))
            for trace in source.choices(traces, k=agents)
        ]
        if sum(Size.of(trace).peak for trace in cast) <= most_bytes:
            return cast
    raise SystemExit("no draw fits into this machine: fewer --agents, or more memory")


def start_daemon() -> None:
    """A fresh one."""
    systemctl("restart", "agentcgd")
    running = Api(SOCKET)
    until(lambda: accounting(running) != "starting", 240)


@contextmanager
def ruled(text: str) -> Iterator[None]:
    """A fresh daemon under this policy; the one that there is, where there is none."""
    if not text:
        yield
        return
    start_daemon()
    with policy(text):
        yield


def zram_used_bytes() -> int:
    """The most that compressed swap has taken; 0 without one."""
    devices = [line.split()[0] for line in Path("/proc/swaps").read_text().splitlines()[1:]]
    stats = (Path(f"/sys/block/{Path(one).name}/mm_stat").read_text() for one in devices)
    return sum(int(stat.split()[4]) for stat in stats)


def played(row: Row, campaign: Campaign) -> tuple[RunResult, int]:
    """One row, and what zram took."""
    with ruled(row.policy), swap_on_zram(SWAP_BYTES) if row.swap else nullcontext():
        campaign.measure()
        return campaign.runs[0], zram_used_bytes()


def figures(run: RunResult, room: RunResult) -> dict[str, Any]:
    """What came of it, by priority."""

    def of(chosen: Callable[[SessionResult], bool]) -> dict[str, Any]:
        pairs = [
            (one, reference)
            for one, reference in zip(run.sessions, room.sessions, strict=True)
            if chosen(one)
        ]
        slower = [
            one.wall_s / reference.wall_s - 1
            for one, reference in pairs
            if one.wall_s is not None and reference.wall_s is not None
        ]
        completed = sum(one.calls.completed for one, _ in pairs)
        return {
            "agents": f"{sum(one.state == 'completed' for one, _ in pairs)} of {len(pairs)}",
            "calls": f"{completed} of {sum(one.calls.planned for one, _ in pairs)}",
            "calls_killed": sum(one.calls.killed for one, _ in pairs),
            "slower": round(statistics.mean(slower), 3) if slower else None,
            "held_up_s": round(sum(one.memory.stalled_us or 0 for one, _ in pairs) / 1e6, 1),
        }

    return {"high": of(lambda one: one.priority == "high"),
            "low": of(lambda one: one.priority == "low")}  # fmt: skip


def told(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    high, low = found["high"], found["low"]
    cells = [name]
    for one in (high, low):
        slower = "-" if one["slower"] is None else f"{one['slower']:.1%}"
        cells += [one["agents"], f"{one['calls']} ({one['calls_killed']} killed)",
                  slower, f"{one['held_up_s']} s"]  # fmt: skip
    cells += [f"{found['zram_mib']:.0f} MiB", f"{found['took_s']} s"]
    return f"| {' | '.join(cells)} |"


def measure(given: argparse.Namespace, sessions: list[tuple[Priority, Trace]]) -> dict[str, Any]:
    """All rows."""
    shape = Shape(speed=given.speed, cpu=given.cpu)
    peaks_bytes = sum(Size.of(trace).peak for _, trace in sessions)
    result: dict[str, Any] = {
        "settings": {**vars(given), "json": None}, "machine": msgspec.to_builtins(machine()),
        "peaks_bytes": peaks_bytes, "limit_bytes": int(peaks_bytes / given.overcommit),
        "sessions": [describe(build(trace, shape)) for _, trace in sessions], "rows": {},
    }  # fmt: skip
    room: RunResult | None = None
    for row in rows(given.speed):
        if not (row.room or given.only is None or row.name in given.only):
            continue
        settings = Settings(
            limit_bytes=peaks_bytes if row.room else result["limit_bytes"], shape=shape,
            socket=SOCKET, controls=(row.control,), swap=row.swap, wait_s=WAIT_S / given.speed,
        )  # fmt: skip
        begun_s = time.monotonic()
        run, used_bytes = played(row, Campaign(sessions, settings))
        room = room or run
        found = {
            **figures(run, room), "zram_mib": used_bytes / (1 << 20),
            "took_s": round(time.monotonic() - begun_s),
        }  # fmt: skip
        result["rows"][row.name] = {"policy": row.policy, **found, "run": msgspec.to_builtins(run)}
        print(told(row.name, found), flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main() -> None:
    """Measure, and print a table: of high priority, then of low."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--traces", action="append", metavar="DIR|TRACE", help="else generated")
    parser.add_argument("--agents", type=int, default=6)
    parser.add_argument("--overcommit", type=float, default=1.6)
    parser.add_argument("--window", type=float, default=75.0, help="recorded seconds of each")
    parser.add_argument("--speed", type=float, default=3.0)
    parser.add_argument("--cpu", type=float, default=0.25, help="share of the recorded CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", metavar="ROW")
    parser.add_argument("--json", type=Path, metavar="OUT")
    given = parser.parse_args()
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Service]\nExecStart=\nExecStart=/usr/local/bin/agentcgd {OPTIONS}\n")
    systemctl("daemon-reload")
    start_daemon()
    cast = drawn(read(given.traces or []), given.agents, given.window, given.seed)
    sessions: list[tuple[Priority, Trace]] = [
        ("low" if number else "high", trace) for number, trace in enumerate(cast)
    ]
    measure(given, sessions)


if __name__ == "__main__":
    main()
