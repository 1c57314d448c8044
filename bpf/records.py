# SPDX-License-Identifier: Apache-2.0
"""records.h for Python: the layouts that the program writes."""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_uint32, c_uint64

COMM_BYTES = 16
ARGV_BYTES = 256
CURVE_POINTS = 256
EXEC, EXIT, OOM = 1, 2, 3


class AccountRecord(ctypes.Structure):
    """struct agentcg_account."""

    _fields_ = (
        ("forks", c_uint64),
        ("threads", c_uint64),
        ("placed", c_uint64),
        ("execs", c_uint64),
        ("exits", c_uint64),
        ("oom_kills", c_uint64),
        ("lost", c_uint64),
        ("run_delay_ns", c_uint64),
        ("sent_bytes", c_uint64),
        ("received_bytes", c_uint64),
        ("connections", c_uint64),
        ("first_pid", c_uint32),
        ("first_exited", c_uint32),
        ("first_exit_code", c_uint32),
        ("victim_pid", c_uint32),
        ("victim_comm", c_char * COMM_BYTES),
    )


class PointRecord(ctypes.Structure):
    """struct agentcg_point."""

    _fields_ = (("t_ms", c_uint32), ("pages", c_uint32), ("ticks", c_uint32))


class CurveRecord(ctypes.Structure):
    """struct agentcg_curve."""

    _fields_ = (
        ("begun_ns", c_uint64),
        ("count", c_uint32),
        ("gap_ms", c_uint32),
        ("ticks", c_uint32),
        ("tick_ms", c_uint32),
        ("points", PointRecord * CURVE_POINTS),
    )


class EventRecord(ctypes.Structure):
    """struct agentcg_event."""

    _fields_ = (
        ("cgroup_id", c_uint64),
        ("time_ns", c_uint64),
        ("kind", c_uint32),
        ("pid", c_uint32),
        ("exit_code", c_uint32),
        ("argv_bytes", c_uint32),
        ("comm", c_char * COMM_BYTES),
    )


class ExecRecord(ctypes.Structure):
    """struct agentcg_exec."""

    _fields_ = (("event", EventRecord), ("argv", c_char * ARGV_BYTES))
