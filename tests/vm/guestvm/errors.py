# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, and the exit statuses of `tests/vm/guest` itself."""

from __future__ import annotations

STATUS_USAGE = 2
STATUS_GUEST_FAILED = 120
STATUS_TIMEOUT = 124


class GuestError(Exception):
    """The guest (or its image) failed, not the command in it; exit status 120."""


class UsageError(GuestError):
    """The request makes no sense; nothing was started; exit status 2."""
