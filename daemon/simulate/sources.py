# SPDX-License-Identifier: Apache-2.0
"""Many traces at once: directories, files, seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentcg.daemon.replay.sources import find
from agentcg.daemon.replay.trace import Trace
from agentcg.errors import TraceError

TRACES_MAX = 2000
GENERATED = 32  # traces, where none are named


def read(named: Sequence[str]) -> list[Trace]:
    """Traces by file, directory or seed; generated ones if none are named. Raises TraceError."""
    found: list[Trace] = []
    for name in named or [f"gen:{seed}" for seed in range(1, GENERATED + 1)]:
        place = Path(name)
        if not name.startswith("gen:") and place.is_dir():
            files = sorted(p for p in place.iterdir() if p.name.endswith((".json", ".json.gz")))
            found += [find(str(path)) for path in files[:TRACES_MAX]]
            continue
        found.append(find(name))
    if not found:
        raise TraceError(
            f"no traces in {', '.join(named)}", remedy="name a directory with *.json.gz in it"
        )
    return found
