# SPDX-License-Identifier: Apache-2.0
"""The point of a compiler's or verifier's log, which can be thousands of lines."""

from __future__ import annotations

import re

from agentcg.bpf.masking import escape

_LINES, _COLUMNS = 3, 200
_CLANG = re.compile(r"\b(?:fatal )?error: ")
_VERIFIED = re.compile(r"processed \d+ insns")
_FOLLOWS = re.compile(r"libbpf: .*failed to (?:load|prepare load attributes)\b")


def essence(log: str) -> str:
    """The lines of `log` that say what is wrong, at most three, as one line; "" if none.

    clang: the first errors. Verifier: the verdict, which stands before its statistics. Anything
    else: the last lines, where tracebacks and libraries put theirs; of libbpf's not those that
    only say what follows from the ones before.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    chosen = [line for line in lines if _CLANG.search(line)][:_LINES]
    if not chosen:
        end = next((i for i, line in enumerate(lines) if _VERIFIED.match(line)), None)
        causes = [line for line in lines if not _FOLLOWS.match(line)] or lines
        chosen = causes[-_LINES:] if end is None else lines[max(0, end - 2) : end]
    return " | ".join(escape(line[:_COLUMNS]) for line in chosen)
