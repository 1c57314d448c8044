# SPDX-License-Identifier: Apache-2.0
"""Names that client and daemon have to agree on."""

from __future__ import annotations

import re

from agentcg.errors import InvalidInput

# No dot, so that a name can never be that of a kernel file in the parent cgroup.
# (?!\n): in Python `$` alone would let a newline at the end pass.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}(?!\n)$"
ID_PATTERN = r"^[a-z0-9]{4,32}(?!\n)$"

USER_PREFIX = "user-"
"""Sessions with such a name belong to the user whom it names; nobody else can open one."""

SESSION_MARK = "user.agentcg.session"
"""The attribute that the daemon gives a session's cgroup."""

_NAME = re.compile(NAME_PATTERN)
_ID = re.compile(ID_PATTERN)
_FITS = re.compile(r"(?!\d+$)[A-Za-z0-9_-]{1,58}")


def check_name(name: str, field: str = "session") -> str:
    """`name` if it can be a session's; raises `InvalidInput`."""
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(field, name, "1 to 63 letters, digits, _ and -, a letter or digit first")
    return name


def check_id(text: str, field: str = "call") -> str:
    """`text` if it can be the id of a call; raises `InvalidInput`."""
    if _ID.fullmatch(text) is None:
        raise InvalidInput(field, text, "4 to 32 lower-case letters and digits")
    return text


def user_session(uid: int, user: str | None) -> str:
    """The name of a user's own session: "user-ada".

    By number, "user-1000", where there is no name, where it is one that a session cannot have
    (two users must not come to share a session), or where it could be taken for a number.
    """
    return USER_PREFIX + (user if user is not None and _FITS.fullmatch(user) else str(uid))
