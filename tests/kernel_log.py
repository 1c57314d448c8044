# SPDX-License-Identifier: Apache-2.0
"""What the kernel says while a test runs: nothing that warns."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

BAD = re.compile(
    r"WARNING:|BUG:|Oops|rcu: INFO|blocked for more than|sched_ext: .*error|runnable task stall"
)
PATIENT = {
    "/proc/sys/kernel/watchdog_thresh": "60",
    "/proc/sys/kernel/hung_task_timeout_secs": "600",
    "/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout": "300",
}
"""The kernel's own limits, in seconds: it also complains where nobody runs the virtual machine."""
LOOK_S = 0.05  # the kernel keeps some hundred kilobytes of what it says


class KernelLog(threading.Thread):
    """What the kernel says, from now on until `end`. It keeps little: who is killed for memory
    fills it in seconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lines: list[str] = []
        self._over = threading.Event()
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)
        self.start()

    def run(self) -> None:
        while not self._over.wait(LOOK_S):
            self._read()
        self._read()

    def end(self) -> list[str]:
        """All of it."""
        self._over.set()
        self.join()
        os.close(self._fd)
        return self.lines

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    said = os.read(self._fd, 8192).decode(errors="replace")
                except BrokenPipeError:
                    said = "-;BUG: lines were lost before they were read"
                self.lines.append(said.partition(";")[2].partition("\n")[0])


@contextlib.contextmanager
def no_complaints() -> Iterator[None]:
    """The kernel has nothing to warn of meanwhile."""
    for path, seconds in PATIENT.items():
        with contextlib.suppress(OSError):  # this kernel does not look
            Path(path).write_text(seconds)
    log = KernelLog()
    try:
        yield
    finally:
        said = [line for line in log.end() if BAD.search(line)]
    assert not said, said
