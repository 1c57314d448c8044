# SPDX-License-Identifier: Apache-2.0
"""Errors say what happened, where, and what to do."""

from __future__ import annotations

import errno

from agentcg import errors
from agentcg.errors import AgentcgError, CgroupError, InvalidInput, clip


def test_a_kernel_refusal_names_path_knob_value_reason_and_remedy() -> None:
    """One line holds everything that an operator needs to act."""
    error = CgroupError(
        "/sys/fs/cgroup/a", "cgroup.procs", 42, errno.EBUSY, remedy="move it into a leaf"
    )
    assert str(error) == (
        "/sys/fs/cgroup/a/cgroup.procs <- 42: Device or resource busy (EBUSY); move it into a leaf"
    )


def test_a_failure_of_the_directory_itself_names_no_knob() -> None:
    """Without a knob the path stands alone."""
    assert str(CgroupError("/c", "", None, errno.ENOENT)).startswith("/c: No such file")


def test_input_errors_quote_the_value_harmlessly() -> None:
    """Control characters of a client never reach a terminal or a log."""
    error = InvalidInput("name", "a\x1b[31m\nb", "letters only")
    assert str(error) == "name: 'a\\x1b[31m\\x0ab' is not valid: letters only"


def test_clip_bounds_any_value() -> None:
    """A value of any type and length becomes a short string."""
    assert len(clip("x" * 10_000)) <= 82
    assert len(clip(list(range(10_000)))) <= 80


def test_every_error_has_a_code_of_its_own() -> None:
    """Codes are part of the API: one for each class, in lower case with hyphens."""

    def family(kind: type[AgentcgError]) -> list[type[AgentcgError]]:
        return [kind, *(one for sub in kind.__subclasses__() for one in family(sub))]

    ours = [kind for kind in family(AgentcgError) if kind.__module__ == errors.__name__]
    codes = [kind.code for kind in ours]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("-", "").isalpha() and code == code.lower() for code in codes)
