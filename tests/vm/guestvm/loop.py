# SPDX-License-Identifier: Apache-2.0
"""The guest agent's event loop."""

from __future__ import annotations

import select
from collections.abc import Callable

Callback = Callable[[int], None]


class Loop:
    """An epoll and whom to call."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}

    def add(self, fd: int, events: int, callback: Callback) -> None:
        """Call `callback(events)` when `fd` is ready."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of `fd`; 0 pauses it (but for errors)."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Forget `fd`; harmless if it is not there."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self) -> None:
        """For ever."""
        while True:
            for fd, events in self._epoll.poll():
                callback = self._callbacks.get(fd)
                if callback is not None:
                    callback(events)
