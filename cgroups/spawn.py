# SPDX-License-Identifier: Apache-2.0
"""Start a program inside a cgroup, from its very first instruction.

Example: `spawn_into(leaf.fileno(), ["make", "-j4"], os.environ, oom_score_adj=500)`.
Limits: those of `clone.fork_into` (one thread only).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agentcg.cgroups.clone import fork_into
from agentcg.errors import InvalidInput, SpawnError

EXEC_TIMEOUT_S = 30.0
"""How long the parent waits for the exec: a frozen or throttled cgroup can delay it."""

_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them, programs expect them


@dataclass(frozen=True, slots=True)
class Start:
    """How the program starts. `stdio`: descriptors for 0, 1, 2 (default: the parent's)."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None = None
    stdio: tuple[int, int, int] = (0, 1, 2)
    pass_fds: Collection[int] = ()
    new_session: bool = False
    oom_score_adj: int | None = None


def spawn_into(
    cgroup_fd: int,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    cwd: str | os.PathLike[str] | None = None,
    stdio: tuple[int, int, int] = (0, 1, 2),
    pass_fds: Collection[int] = (),
    new_session: bool = False,
    oom_score_adj: int | None = None,
    timeout_s: float = EXEC_TIMEOUT_S,
) -> int:
    """Start `argv` in the cgroup open as `cgroup_fd`; returns its pid once exec succeeded.

    `argv[0]` is looked up in PATH of `env`. Only descriptors 0, 1, 2 and `pass_fds` (with
    their numbers) are inherited. `oom_score_adj` (-1000 to 1000) is set before exec; lowering
    it needs CAP_SYS_RESOURCE. The caller reaps the process.

    Raises SpawnError (with the errno of what failed; nothing is left running), the errors of
    `fork_into`, and InvalidInput.
    """
    if not argv:
        raise InvalidInput("argv", "", "at least the program's name")
    if any("\0" in word for word in (*argv, *env, *env.values())):
        raise InvalidInput("argv", argv[0], "no NUL in arguments or environment")
    if oom_score_adj is not None and not -1000 <= oom_score_adj <= 1000:
        raise InvalidInput("oom_score_adj", oom_score_adj, "-1000 to 1000")
    start = Start(
        argv, env, None if cwd is None else os.fspath(cwd), stdio, pass_fds, new_session,
        oom_score_adj,
    )  # fmt: skip
    report_r, report_w = os.pipe()  # close-on-exec: closes without a word when exec succeeds
    try:
        pid = fork_into(cgroup_fd, clear_signal_handlers=True)
        if pid == 0:
            _child(start, report_w)
        os.close(report_w)
        report_w = -1
        _await_exec(pid, report_r, argv[0], timeout_s)
    finally:
        os.close(report_r)
        if report_w >= 0:
            os.close(report_w)
    return pid


def _child(start: Start, report_fd: int) -> NoReturn:
    """Runs in the child; leaves it by exec or `_exit`, never by returning or raising."""
    stage = "start"
    try:
        report_fd = _move_above(report_fd, (2, *start.pass_fds))
        stage = "oom_score_adj"
        if start.oom_score_adj is not None:
            Path("/proc/self/oom_score_adj").write_text(str(start.oom_score_adj))
        stage = "new session"
        if start.new_session:
            os.setsid()
        stage = f"change to directory {start.cwd}"
        if start.cwd is not None:
            os.chdir(start.cwd)
        stage = "descriptors"
        _arrange_descriptors(start, report_fd)
        for number in _RESTORED:
            signal.signal(number, signal.SIG_DFL)
        stage = "exec"
        os.execvpe(start.argv[0], list(start.argv), dict(start.env))  # noqa: S606
    except OSError as error:
        _report(report_fd, error.errno or 0, stage)
    except Exception as error:  # whatever it is, the parent must not take it for success
        _report(report_fd, 0, f"{stage}: {error!r}")
    finally:
        os._exit(127)


def _report(fd: int, number: int, stage: str) -> None:
    with contextlib.suppress(OSError):
        os.write(fd, f"{number} {stage}"[:4000].encode(errors="replace"))


def _move_above(fd: int, taken: Collection[int]) -> int:
    """A duplicate of `fd` that no number in `taken` will overwrite; close-on-exec."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(taken) + 1)


def _arrange_descriptors(start: Start, report_fd: int) -> None:
    """Put `stdio` at 0, 1, 2; keep `pass_fds`; close the rest at exec."""
    # First out of the way, so that (1, 0, 2) or the like does not overwrite itself.
    copies = [_move_above(fd, (2, report_fd, *start.pass_fds)) for fd in start.stdio]
    for number, copy in enumerate(copies):
        os.dup2(copy, number, inheritable=True)
    for fd in start.pass_fds:
        os.set_inheritable(fd, True)
    low = 3
    for kept in sorted({fd for fd in start.pass_fds if fd > 2} | {report_fd}):
        os.closerange(low, kept)
        low = kept + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))


def _await_exec(pid: int, report_fd: int, program: str, timeout_s: float) -> None:
    """Wait for the child's exec; on failure reap the child and raise SpawnError."""
    poller = select.poll()
    poller.register(report_fd, select.POLLIN)
    if not poller.poll(timeout_s * 1000):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise SpawnError(program, f"exec within {timeout_s} s", None)
    report = os.read(report_fd, 4096).decode(errors="replace")
    if report:
        os.waitpid(pid, 0)
        number, _, stage = report.partition(" ")
        raise SpawnError(program, stage, int(number) or errno.EINVAL)
