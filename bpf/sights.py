# SPDX-License-Identifier: Apache-2.0
"""What detection.c reports, as Python values. Pure: bytes in, frozen dataclasses out."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping
from ctypes import c_char, c_uint8, c_uint32, c_uint64
from types import MappingProxyType
from typing import Literal, NamedTuple

from agentcg.bpf.events import shell_status

NAME_BYTES = 16
HEAD_BYTES = 512
TAIL_BYTES = 768
ARGV_BYTES = HEAD_BYTES + TAIL_BYTES
CUT = "…".encode()
VARIABLE_BYTES = 128
VARIABLES = 4
TICK_NS = 10_000_000  # USER_HZ is 100 for every user of /proc
_KINDS: dict[int, Kind] = {1: "born", 2: "ran", 3: "gone"}

Kind = Literal["born", "ran", "gone"]


class SightRecord(ctypes.Structure):
    """struct agentcg_sight."""

    _fields_ = (
        ("cgroup_id", c_uint64),
        ("time_ns", c_uint64),
        ("start_ns", c_uint64),
        ("parent_start_ns", c_uint64),
        ("kind", c_uint32),
        ("watched", c_uint32),
        ("pid", c_uint32),
        ("parent", c_uint32),
        ("pgid", c_uint32),
        ("sid", c_uint32),
        ("uid", c_uint32),
        ("exit_code", c_uint32),
        ("argv_bytes", c_uint32),
        ("variables", c_uint32),
        ("comm", c_char * NAME_BYTES),
    )


class RanRecord(ctypes.Structure):
    """struct agentcg_sight_ran."""

    _fields_ = (
        ("sight", SightRecord),
        ("argv", c_uint8 * ARGV_BYTES),  # not c_char: it holds NULs
        ("environment", (c_char * VARIABLE_BYTES) * VARIABLES),
    )


_CODES = {c_uint64: "Q", c_uint32: "I", c_char * NAME_BYTES: f"{NAME_BYTES}s"}
# Some records are read for each program that an agent executes: in one go.
_HEAD = struct.Struct("=" + "".join(_CODES[kind] for _, kind in SightRecord._fields_))
_HEAD_BYTES = ctypes.sizeof(SightRecord)
_RAN_BYTES = ctypes.sizeof(RanRecord)
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Sight(NamedTuple):
    """One process as it was at one moment. Everything but `argv`, `comm` and `environment`,
    which a process may write as it likes, is the kernel's word."""

    kind: Kind
    cgroup_id: int
    time_ns: int
    """CLOCK_BOOTTIME."""
    pid: int
    start_ticks: int
    """Birth of the process, as field 22 of /proc/PID/stat; with the pid its identity."""
    parent: int
    """Who forked it, also if that process is gone."""
    parent_start_ticks: int
    pgid: int
    sid: int
    uid: int
    comm: str
    watched: bool = True
    """Whether it was in a watched cgroup; else it was seen by its name."""
    argv: tuple[str, ...] = ()
    """Bytes that are not UTF-8 as surrogates. Of a long line the middle is missing ("…")."""
    argv_cut: bool = False
    environment: Mapping[str, str] = _NO_VARIABLES
    status: int | None = None
    """Of one that is gone, as a shell sees it."""


def sight_of(data: bytes) -> Sight | None:
    """The sight in one ring record; None for what this version does not know."""
    if len(data) < _HEAD_BYTES:
        return None
    (
        cgroup_id, time_ns, start_ns, parent_start_ns, number, watched, pid, parent, pgid, sid,
        uid, exit_code, argv_bytes, variables, comm,
    ) = _HEAD.unpack_from(data)  # fmt: skip
    kind = _KINDS.get(number)
    if kind is None:
        return None
    ran = kind == "ran" and len(data) >= _RAN_BYTES
    return Sight(
        kind,
        cgroup_id,
        time_ns,
        pid,
        start_ns // TICK_NS,
        parent,
        parent_start_ns // TICK_NS,
        pgid,
        sid,
        uid,
        _text(comm.split(b"\0", 1)[0]),
        bool(watched),
        arguments(_line(data, argv_bytes)) if ran else (),
        argv_bytes > ARGV_BYTES,
        _variables(data, variables) if ran and variables else _NO_VARIABLES,
        shell_status(exit_code) if kind == "gone" else None,
    )


def _line(data: bytes, size: int) -> bytes:
    if size <= ARGV_BYTES:
        return data[_HEAD_BYTES : _HEAD_BYTES + size]
    middle = _HEAD_BYTES + HEAD_BYTES
    return data[_HEAD_BYTES:middle] + CUT + data[middle : _HEAD_BYTES + ARGV_BYTES]


def shortened(line: bytes) -> bytes:
    """A whole command line as the program would have reported it."""
    return line if len(line) <= ARGV_BYTES else line[:HEAD_BYTES] + CUT + line[-TAIL_BYTES:]


def arguments(data: bytes) -> tuple[str, ...]:
    """The words of a NUL-separated command line."""
    return tuple(_text(word) for word in data.removesuffix(b"\0").split(b"\0")) if data else ()


def _variables(data: bytes, count: int) -> dict[str, str]:
    found = {}
    for index in range(min(count, VARIABLES)):
        at = _HEAD_BYTES + ARGV_BYTES + index * VARIABLE_BYTES
        slot = data[at : at + VARIABLE_BYTES]
        name, _, value = _text(slot.split(b"\0", 1)[0]).partition("=")
        found[name] = value
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
