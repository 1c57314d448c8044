# SPDX-License-Identifier: Apache-2.0
"""Several things at once, each in a process of its own, their output line by line under names."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import selectors
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.process import BaseProcess

_PR_SET_PDEATHSIG = 1  # prctl(2)


def together(names: Iterable[str], work: Callable[[str], int]) -> int:
    """Run `work(name)` for all names at once; the status of the first that did not succeed."""
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(_running(name, work)) for name in names}
        _copy({fd: name for name, (_, fd) in running.items()})
        for process, _ in running.values():
            process.join()
        statuses = [process.exitcode or 0 for process, _ in running.values()]
    return next((status if status > 0 else 128 - status for status in statuses if status), 0)


@contextlib.contextmanager
def _running(name: str, work: Callable[[str], int]) -> Iterator[tuple[BaseProcess, int]]:
    """The process that does `work(name)`, and what it writes; ended when the block is left."""
    output, inside = os.pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_inside, args=(name, work, inside, os.getpid())
    )
    process.start()
    os.close(inside)
    try:
        yield process, output
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
        os.close(output)


def _inside(name: str, work: Callable[[str], int], output: int, parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return  # it died before that held
    for fd in (1, 2):
        os.dup2(output, fd)
    os.close(output)
    sys.exit(work(name))


def _copy(outputs: dict[int, str]) -> None:
    """Write whole lines to our output, each behind its name, until all writers have ended."""
    width = max(map(len, outputs.values()), default=0)
    begun = dict.fromkeys(outputs, b"")
    with selectors.DefaultSelector() as selector:
        for fd in outputs:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                *lines, begun[key.fd] = (begun[key.fd] + data).split(b"\n")
                if not data:
                    selector.unregister(key.fd)
                    lines = [begun[key.fd]] if begun[key.fd] else []
                for line in lines:
                    sys.stdout.buffer.write(f"{outputs[key.fd]:{width}}| ".encode() + line + b"\n")
                sys.stdout.buffer.flush()
