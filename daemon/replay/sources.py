# SPDX-License-Identifier: Apache-2.0
"""What TRACE may be on the command line: a file, a name in a directory, or `gen:SEED`."""

from __future__ import annotations

import re
from pathlib import Path

from agentcg.daemon.replay.generate import generate
from agentcg.daemon.replay.trace import Trace, load
from agentcg.errors import InvalidInput, TraceError, clip

GENERATED = "gen:"
TRACES_DIRECTORY = Path("../shared/traces")  # looked at if it is there and no other is named
_SUFFIXES = ("", ".json.gz", ".json")
_SEED = re.compile(r"[A-Za-z0-9_-]{1,32}")


def find(text: str, directory: Path | None = None) -> Trace:
    """The trace that `text` names. Raises TraceError, or InvalidInput for a bad seed."""
    if text.startswith(GENERATED):
        seed = text.removeprefix(GENERATED)
        if _SEED.fullmatch(seed) is None:
            raise InvalidInput("trace", text, "gen: and 1 to 32 letters, digits, _ or -")
        return generate(seed)
    place = TRACES_DIRECTORY if directory is None else directory
    path = _file(text, place)
    if path is None:
        raise TraceError(
            f"{clip(text)}: no such file, nor in {place}",
            remedy="name a file, a recording in --traces DIR, or gen:SEED",
        )
    return load(path)


def _file(text: str, directory: Path) -> Path | None:
    """The file itself, or one of that name in `directory`, with or without its extension."""
    try:
        for path in (Path(text), *(directory / f"{text}{suffix}" for suffix in _SUFFIXES)):
            if path.is_file():
                return path
    except (OSError, ValueError) as error:  # a name that no file can have
        raise InvalidInput("trace", text, f"the name of a file ({error.args[-1]})") from error
    return None
