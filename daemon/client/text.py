# SPDX-License-Identifier: Apache-2.0
"""Text from elsewhere, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` on one line without control characters: "a\nb" -> r"a\nb", ESC -> r"\x1b".

    Commands, labels and sentences come from programs; a terminal would obey the escape
    sequences in them. Joining and direction marks count as not printable, too, since they can
    make a command look like another one.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
