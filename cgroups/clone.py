# SPDX-License-Identifier: Apache-2.0
"""`clone3(CLONE_INTO_CGROUP)`: a process that is born in its cgroup.

No migration takes place, so there is no wait for the migration lock and nothing is charged
to the parent's cgroup first. Source: clone(2), Linux 5.7.

Limits: like fork in any language, only a process with one thread may do it. glibc's fork
takes the locks of malloc and stdio before it copies the process; a raw clone3 cannot, so a
lock held by another thread would stay locked for ever in the child. `fork_into` counts the
threads and refuses.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentcg.errors import CgroupError

CLONE_INTO_CGROUP = 0x200000000
CLONE_CLEAR_SIGHAND = 0x100000000
_SYS_CLONE3 = 435  # the same on every architecture since clone3 is from the unified table


class _CloneArgs(ctypes.Structure):
    """`struct clone_args` of linux/sched.h, version 2 (88 bytes)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("pidfd", ctypes.c_uint64),
        ("child_tid", ctypes.c_uint64),
        ("parent_tid", ctypes.c_uint64),
        ("exit_signal", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("stack_size", ctypes.c_uint64),
        ("tls", ctypes.c_uint64),
        ("set_tid", ctypes.c_uint64),
        ("set_tid_size", ctypes.c_uint64),
        ("cgroup", ctypes.c_uint64),
    )


# PyDLL keeps the interpreter lock during the call: in the child no other thread exists that
# could give it back.
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.POINTER(_CloneArgs), ctypes.c_size_t)


def threads() -> int:
    """Threads of this process, those of C libraries included."""
    return os.stat("/proc/self/task").st_nlink - 2  # noqa: PTH116 - runs before every fork


def fork_into(cgroup_fd: int, *, clear_signal_handlers: bool = False) -> int:
    """Fork; the child is born in the cgroup open as `cgroup_fd`. 0 in the child, else its pid.

    As after `os.fork()`, the interpreter is usable in the child, and the child should exec or
    `os._exit` soon. `clear_signal_handlers`: signals have their default effect in the child,
    except ignored ones.

    Raises CgroupGone, or CgroupError: EBUSY (not a leaf), EACCES (no write access to its
    cgroup.procs or to the common ancestor's), EAGAIN (pids.max), ENOSYS (seccomp or Linux
    before 5.3), EDEADLK (more than one thread).
    """
    if threads() != 1:
        raise _refused(cgroup_fd, errno.EDEADLK)
    flags = CLONE_INTO_CGROUP | (CLONE_CLEAR_SIGHAND if clear_signal_handlers else 0)
    args = _CloneArgs(flags=flags, exit_signal=signal.SIGCHLD, cgroup=cgroup_fd)
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(_syscall(_SYS_CLONE3, args, ctypes.sizeof(args)))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise _refused(cgroup_fd, number)
    return pid


def _refused(cgroup_fd: int, number: int) -> CgroupError:
    from agentcg.cgroups.refusal import clone_refused  # noqa: PLC0415 - only for an error

    return clone_refused(cgroup_fd, number)
