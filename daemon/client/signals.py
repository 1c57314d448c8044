# SPDX-License-Identifier: Apache-2.0
r"""Signals while a command runs: what the wrapper gets, the command gets, once.

The command shares the wrapper's process group. So a signal from the terminal (^C, ^Z, ^\, a
resize, a hang-up) reaches both by itself, while one that another process sends to the
wrapper's pid has to be passed on. The kernel says which is which in `si_code` (sigaction(2)):
SI_KERNEL is positive, SI_USER, SI_QUEUE and SI_TKILL are not.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any, NamedTuple

_Handler = Any  # what signal.signal takes and returns: a callable, SIG_DFL, SIG_IGN or None

# The process's own faults, what cannot be blocked, and what says nothing to the command.
_NOT_RELAYED = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
    signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS, signal.SIGCHLD, signal.SIGURG,
}  # fmt: skip
RELAYED = frozenset(signal.valid_signals() - _NOT_RELAYED)
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM})
_JOB_CONTROL = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


@dataclass(frozen=True)
class CallerSignals:
    """The mask and dispositions that the command is to start with: those of the caller."""

    mask: frozenset[int]
    child_handler: _Handler
    interrupt_handler: _Handler

    @classmethod
    def take(cls) -> CallerSignals:
        """Note them, and see to it that the end of a child can be waited for."""
        return cls(
            mask=frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            child_handler=signal.signal(signal.SIGCHLD, signal.SIG_DFL),
            interrupt_handler=signal.getsignal(signal.SIGINT),
        )

    def give_back(self) -> None:
        """Restore them in the child, before it executes the command.

        Python ignores SIGPIPE and SIGXFSZ at start and does not say what was there before; the
        default is what a shell gives its commands.
        """
        for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored_by_python, signal.SIG_DFL)
        if self.child_handler is not None:
            signal.signal(signal.SIGCHLD, self.child_handler)
        if self.interrupt_handler is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


def hold() -> None:
    """From now on keep signals for `supervise`; they wait until it looks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED | {signal.SIGCHLD})


class Ended(NamedTuple):
    """How a command ended: its status as a shell has it (128+n), and whether its caller asked
    for that: a signal that ends processes came from the terminal or was passed on."""

    status: int | None  # None: nothing was executed
    cancelled: bool


def supervise(pid: int) -> Ended:
    """Wait for the child `pid`, relaying signals.

    `hold` must have been called before the child could end. When the command is stopped by
    job control (^Z), the wrapper stops, too, so that the shell above sees a stopped job.
    """
    ending = False
    while True:
        changed, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if changed and not os.WIFSTOPPED(status):
            ended = status_of(status)
            return Ended(ended, ending and ended != 0)
        if changed and os.WSTOPSIG(status) in _JOB_CONTROL:
            os.kill(os.getpid(), signal.SIGSTOP)
        received = signal.sigwaitinfo(RELAYED | {signal.SIGCHLD})
        ending = ending or received.si_signo in _ENDING
        if received.si_signo != signal.SIGCHLD and received.si_code <= 0:
            _relay(pid, received.si_signo)


def status_of(wait_status: int) -> int:
    """A wait status as a shell shows it: the exit status, or 128+n for signal n."""
    code = os.waitstatus_to_exitcode(wait_status)
    return 128 - code if code < 0 else code


def _relay(pid: int, signo: int) -> None:
    try:
        os.kill(pid, signo)
    except PermissionError:
        return  # a setuid command: the sender could not have signalled it, either
