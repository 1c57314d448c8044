#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the programs cost to start with: the helper, and the daemon's memory.

    python tests/bench/bpf_cost.py

Seconds to compile, attach and pin, and to open what is pinned; resident memory of a process that
has the pins open, and of the helper while it compiles. What the programs cost those that run is
measured by overhead.py. Needs root; prints one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentcg.bpf import Accounting, pins
from agentcg.bpf.tunables import Tunables
from bpf_support import pin_root


def main() -> int:
    with pin_root() as root:
        result = {
            "open_s": _open_times(root),
            "rss_bytes": {"daemon": _daemon_rss(root), **_helper_rss(root)},
        }
    print(json.dumps(result))
    return 0


def _open_times(root: Path) -> dict[str, float]:
    """Seconds to compile, attach and pin, and to open what is pinned."""
    started = time.monotonic()
    Accounting.open(root).close()
    compiled = time.monotonic()
    Accounting.open(root).close()
    return {
        "compile": round(compiled - started, 3),
        "reopen": round(time.monotonic() - compiled, 5),
    }


def _daemon_rss(root: Path) -> int:
    """Resident memory of a process that has the pins open and does nothing else."""
    script = (
        f"from agentcg.bpf import Accounting; a = Accounting.open({str(root)!r}); a.poll()\n"
        "print(open('/proc/self/statm').read().split()[1])"
    )
    pages = subprocess.check_output([sys.executable, "-c", script])
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _helper_rss(root: Path) -> dict[str, int]:
    """Peak resident memory of the helper, which lives only while it compiles."""
    target = root / f"new-{pins.key_of(Tunables())}"
    command = [sys.executable, "-m", "agentcg.bpf.compile", "--pin", str(target)]
    return {"helper_peak": json.loads(subprocess.check_output(command))["peak_rss_bytes"]}


if __name__ == "__main__":
    sys.exit(main())
