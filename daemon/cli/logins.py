# SPDX-License-Identifier: Apache-2.0
"""Login names and user ids of this host."""

from __future__ import annotations

import pwd


def login_of(uid: int) -> str | None:
    """The login name of `uid`; None if it has none here."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def uid_of(login: str) -> int | None:
    """The user id of `login`; None if there is no such user here."""
    try:
        return pwd.getpwnam(login).pw_uid
    except KeyError:
        return None
