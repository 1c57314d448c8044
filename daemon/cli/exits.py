# SPDX-License-Identifier: Apache-2.0
"""How `agentcg` ends: one exit code per kind of failure, and errors as one line of text."""

from __future__ import annotations

import sys

from agentcg.daemon.client.text import printable
from agentcg.errors import AgentcgError, Forbidden, InvalidInput, Unavailable

OK = 0
FAILURE = 1
USAGE = 2
UNAVAILABLE = 3
FORBIDDEN = 4
PROBLEMS_FOUND = 5
NOT_STARTED = 125
INTERRUPTED = 130

SUMMARY = """\b
Exit codes:
  0    done
  1    it failed (not found, conflict, a limit of the daemon)
  2    wrong usage or an invalid value; nothing was changed
  3    the daemon is not there
  4    not permitted
  5    a check found problems (doctor, policy check, policy show)
`run` ends with the status of its command, or 125 if it could not be started."""

_CODES = ((InvalidInput, USAGE), (Unavailable, UNAVAILABLE), (Forbidden, FORBIDDEN))


def code_of(error: AgentcgError) -> int:
    """The exit code for an error of the tree."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILURE)


def complain(error: AgentcgError) -> None:
    """What went wrong, and what to do about it, on standard error."""
    print(f"agentcg: {printable(error.message)}", file=sys.stderr)
    if error.remedy:
        print(f"  {printable(error.remedy)}", file=sys.stderr)
