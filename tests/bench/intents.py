#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How many intents a daemon answers, and how soon. As root; a daemon and a cgroup of its own.

    sudo .venv/bin/python tests/bench/intents.py [--json FILE] [--rate 2000] [--seconds 5]

Eight sessions, fifty calls that run. One client on a kept connection declares calls of 64 MiB in
turn, on a fixed schedule: latency counts from the scheduled time, so that a daemon that falls
behind cannot hide it. Beside that, one session alone, as fast as it may: its rate is bounded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api import Raw

from daemon_support import own_daemon

SESSIONS = 8
CALLS = 50
BODY = b'{"kind":"call","tool":"Bash","memory_bytes":67108864,"start_in_s":2}'


def main() -> None:
    """Measure, print, or write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with own_daemon() as daemon:
        for number in range(SESSIONS):
            daemon.open(f"s{number}")
        for number in range(CALLS):
            daemon.begin(f"s{number % SESSIONS}", command="make test")
        raw = Raw(str(daemon.path))
        took, begin = [], time.perf_counter()
        for number in range(int(options.rate * options.seconds)):
            due = begin + number / options.rate
            while time.perf_counter() < due:
                time.sleep(0)
            status, answer = raw.ask("POST", f"/v1/sessions/s{number % SESSIONS}/intents", BODY)
            assert status == 201, answer
            took.append(time.perf_counter() - due)
        whole_s = time.perf_counter() - begin
        refused = sum(
            raw.ask("POST", "/v1/sessions/s0/intents", BODY)[0] == 429 for _ in range(10_000)
        )
    cut = statistics.quantiles(took, n=100)
    result = {
        "asked_per_s": options.rate, "answered_per_s": len(took) / whole_s,
        "p50_ms": 1e3 * cut[49], "p99_ms": 1e3 * cut[98], "max_ms": 1e3 * max(took),
        "refused_of_10000": refused,
    }  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
