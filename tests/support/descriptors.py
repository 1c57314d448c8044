# SPDX-License-Identifier: Apache-2.0
"""What this process has open, so that a test can say that nothing was left behind."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path


def open_files() -> set[tuple[str, str]]:
    """Number and target of each open descriptor.

    Tests look at what is in a later set and not in an earlier one. They do not count: threads and
    garbage of earlier tests close their descriptors at any time.
    """
    gc.collect()
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor by which the folder is read
            found.add((entry.name, str(entry.readlink())))
    return found
