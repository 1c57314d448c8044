# SPDX-License-Identifier: Apache-2.0
"""Where the output of commands goes that are not the user's."""

from __future__ import annotations


class Discard:
    """Output that nobody wants."""

    def write(self, data: bytes, /) -> object:
        """Nothing."""
        return len(data)

    def flush(self) -> object:
        """Nothing."""
        return None


class Collect:
    """Output to look at."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> object:
        """Keep it."""
        self.data += data
        return len(data)

    def flush(self) -> object:
        """Nothing."""
        return None

    def text(self) -> str:
        """All of it, without white space at the ends."""
        return self.data.decode(errors="replace").strip()
