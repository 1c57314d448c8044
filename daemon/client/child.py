# SPDX-License-Identifier: Apache-2.0
"""The process that becomes the command of a call.

It stays in the caller's process group and session and inherits standard streams, terminal,
environment and open descriptors as they are: seen from outside, the command runs as if it had
been started directly.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import NoReturn

from agentcg.daemon.client.signals import CallerSignals
from agentcg.daemon.client.text import printable
from agentcg.errors import AgentcgError

OOM_SCORE_ADJ_RAISE = 500  # of 1000: the kernel's choice is the call, not the agent
NOT_FOUND_STATUS = 127  # as shells and env(1) have it
NOT_EXECUTABLE_STATUS = 126

_OOM_SCORE_ADJ = "/proc/self/oom_score_adj"
_PR_SET_PDEATHSIG = 1


class Child:
    """A forked process that waits to be released before it executes `argv`.

    The wait is what lets the daemon place it by its pid first. If the caller dies before
    `release`, the child exits without having executed anything.
    """

    def __init__(self, pid: int, gate: int | None = None) -> None:
        self.pid = pid
        self._gate = gate

    @classmethod
    def held(cls, argv: Sequence[str], signals: CallerSignals) -> Child:
        """Fork a child that waits; raises `AgentcgError` if the system cannot fork."""
        (behind, gate), parent = os.pipe(), os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            raise AgentcgError(f"cannot start a process: {error.strerror}") from error
        if pid == 0:
            os.close(gate)
            _become(argv, signals, parent, behind)
        os.close(behind)
        return cls(pid, gate)

    @classmethod
    def born_in(cls, argv: Sequence[str], signals: CallerSignals, cgroup: str) -> Child:
        """Fork a child that is in the cgroup from birth, and executes `argv` at once.

        Raises `CgroupError` or `OSError` if the cgroup is gone, cannot be seen or may not be
        entered; then nothing was executed.
        """
        from agentcg.cgroups import fork_into  # noqa: PLC0415 - for root alone

        directory, parent = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY), os.getpid()
        try:
            pid = fork_into(directory)
        finally:
            os.close(directory)
        if pid == 0:
            _become(argv, signals, parent)
        return cls(pid)

    def release(self) -> None:
        """Let it execute its command."""
        if self._gate is not None:
            os.write(self._gate, b"!")
            os.close(self._gate)
            self._gate = None

    def abandon(self) -> None:
        """End it without a trace: nothing was executed."""
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None
            os.waitpid(self.pid, 0)


def raise_oom_score_adj(by: int = OOM_SCORE_ADJ_RAISE, path: str = _OOM_SCORE_ADJ) -> None:
    """Make this process the kernel's choice before others when memory runs out.

    Raising is allowed to everybody. A kernel or sandbox without the file changes nothing.
    """
    try:
        with open(path, "r+", encoding="ascii") as file:  # noqa: PTH123 - imports less
            raised = min(1000, int(file.read()) + by)
            file.seek(0)
            file.write(str(raised))
    except (OSError, ValueError):
        return


def _become(
    argv: Sequence[str], signals: CallerSignals, parent: int, behind: int | None = None
) -> NoReturn:
    """Execute `argv` in this (forked) process, once `behind` has something to read."""
    status = NOT_EXECUTABLE_STATUS
    try:
        signals.give_back()
        if behind is not None and not os.read(behind, 1):
            os._exit(0)
        raise_oom_score_adj()
        _die_with_parent(parent)
        os.execvp(argv[0], list(argv))  # noqa: S606 - no shell unless the caller asks for one
    except FileNotFoundError as error:
        status = NOT_FOUND_STATUS
        _complain(argv[0], error)
    except (OSError, ValueError) as error:
        _complain(argv[0], error)
    finally:
        os._exit(status)


def _die_with_parent(parent: int) -> None:
    """If the wrapper is killed with SIGKILL, which it cannot relay, the command dies of it, too.

    prctl(2) has no wrapper in the standard library. The setting survives execve(2), but not
    that of a setuid program.
    """
    import ctypes  # noqa: PLC0415 - slow, and the wrapper itself does without

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def _complain(program: str, error: Exception) -> None:
    reason = getattr(error, "strerror", None) or str(error)
    os.write(2, f"agentcg run: {printable(program)}: {reason}\n".encode(errors="replace"))
