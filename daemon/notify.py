# SPDX-License-Identifier: Apache-2.0
"""What systemd is told (sd_notify(3)); without systemd nothing is."""

from __future__ import annotations

import asyncio
import os
import time

import sdnotify


class Notifier:
    """Says ready, reloading, stopping, and regularly that the loop is alive."""

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier()
        own = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = os.environ.get("WATCHDOG_USEC", "") if own else ""
        self._interval_s = int(usec) / 2e6 if usec.isdigit() else None

    def ready(self, status: str) -> None:
        """Up, or done with reloading."""
        self._notifier.notify(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Type=notify-reload wants the time, too, to tell this reload from an earlier one."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """Going down."""
        self._notifier.notify("STOPPING=1")

    async def watchdog(self) -> None:
        """Twice per WatchdogSec= from the loop itself, so that a loop that hangs is noticed."""
        while self._interval_s is not None:
            self._notifier.notify("WATCHDOG=1")
            await asyncio.sleep(self._interval_s)
