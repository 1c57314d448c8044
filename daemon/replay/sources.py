# SPDX-License-Identifier: Apache-2.0
"""What TRACE may be on the command line: a file, a name in a directory, or `gen:SEED`."""

from __future__ import annotations

import re
from pathlib import Path

from agentcg.daemon.replay.generate import generate
from agentcg.daemon.replay.trace import Trace, load
from agentcg.errors import InvalidInput, TraceError

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
    if "\0" in text:
        raise InvalidInput("trace", text, "a path")
    places = [Path()] if directory is None and Path(text).is_file() else []
    places.append(TRACES_DIRECTORY if directory is None else directory)
    for place in places:
        for suffix in _SUFFIXES:
            path = place / f"{text}{suffix}"
            if path.is_file():
                return load(path)
    raise TraceError(
        f"{text}: no such file, nor in {places[-1]}",
        remedy="name a file, a recording in --traces DIR, or gen:SEED",
    )
