# SPDX-License-Identifier: Apache-2.0
"""scheduler.h for Python: the layouts that the scheduler and the daemon share."""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_int64, c_uint16, c_uint32, c_uint64


class NodeRecord(ctypes.Structure):
    """struct agentcg_node."""

    _fields_ = (
        ("cgroup_id", c_uint64),
        ("parent", c_uint32),
        ("weight", c_uint32),
        ("idle", c_uint32),
        ("level", c_uint16),
        ("bandwidth", c_uint16),
        ("vtime", c_uint64),
        ("share", c_uint64),
        ("task_vtime", c_uint64),
        ("refs", c_int64),
        ("active", c_int64),
        ("counted", c_uint64),
        ("own_weight", c_int64),
        ("child_weight", c_int64),
        ("queued", c_int64),
        ("run_ns", c_uint64),
        ("wait_ns", c_uint64),
        ("waits", c_uint64),
        ("longest_wait_ns", c_uint64),
        ("boost_ns", c_int64),
        ("boosted_at_ns", c_uint64),
        ("boosts", c_uint64),
    )


class StateRecord(ctypes.Structure):
    """struct agentcg_sched_state."""

    _fields_ = (
        ("mean", c_uint64),
        ("vnow", c_uint64),
        ("nodes", c_uint64),
        ("overflows", c_uint64),
        ("picks", c_uint64),
        ("empty_picks", c_uint64),
        ("kept", c_uint64),
        ("preempted", c_uint64),
        ("stolen", c_uint64),
        ("bandwidths", c_uint64),
        ("delayed", c_uint64),
        ("delays_refused", c_uint64),
        ("events_lost", c_uint64),
        ("evicted", c_uint64),
        ("exit_kind", c_uint64),
        ("exit_code", c_int64),
        ("exit_reason", c_char * 128),
        ("exit_message", c_char * 256),
    )


class SettingsRecord(ctypes.Structure):
    """struct agentcg_sched_settings."""

    _fields_ = (
        ("slice_ns", c_uint64),
        ("credit_ns", c_uint64),
        ("lag_ns", c_uint64),
        ("patience_ns", c_uint64),
        ("sweep_ns", c_uint64),
        ("boost_ns", c_uint64),
        ("stretch_ns", c_uint64),
        ("favour_ns", c_uint64),
        ("cpu_boost_ns", c_uint64),
        ("window_ns", c_uint64),
    )


class AgentsSettingsRecord(ctypes.Structure):
    """struct agentcg_agents_settings."""

    _fields_ = (("root_id", c_uint64),)


class BudgetSettingsRecord(ctypes.Structure):
    """struct agentcg_budget_settings."""

    _fields_ = (("page_bytes", c_uint64), ("expiry_ns", c_uint64))


class ControlRecord(ctypes.Structure):
    """struct agentcg_sched_control."""

    _fields_ = (("heartbeat_ns", c_uint64), ("budgets", c_uint64), ("protections", c_uint64))


class ProtectionRecord(ctypes.Structure):
    """struct agentcg_protection."""

    _fields_ = (("low_bytes", c_uint64), ("min_bytes", c_uint64))


class BudgetRecord(ctypes.Structure):
    """struct agentcg_budget."""

    _fields_ = (
        ("soft_bytes", c_uint64),
        ("hard_bytes", c_uint64),
        ("max_delay_ns", c_uint64),
        ("priority", c_uint32),
        ("owed_ns", c_uint32),
    )


class DelaysRecord(ctypes.Structure):
    """struct agentcg_delays."""

    _fields_ = (
        ("count", c_uint64),
        ("total_ns", c_uint64),
        ("longest_ns", c_uint64),
        ("overshoot_bytes", c_uint64),
        ("trace", c_uint64),
    )


class DelayEventRecord(ctypes.Structure):
    """struct agentcg_delay_event."""

    _fields_ = (
        ("cgroup_id", c_uint64),
        ("pid", c_uint32),
        ("pad", c_uint32),
        ("noticed_ns", c_uint64),
        ("waited_ns", c_uint64),
        ("stopped_ns", c_uint64),
        ("until_ns", c_uint64),
        ("released_ns", c_uint64),
        ("over_bytes", c_uint64),
    )


class TurnEventRecord(ctypes.Structure):
    """struct agentcg_turn_event."""

    _fields_ = (
        ("cgroup_id", c_uint64),
        ("pid", c_uint32),
        ("cpu", c_uint32),
        ("ended_ns", c_uint64),
        ("waited_ns", c_uint64),
        ("ran_ns", c_uint64),
        ("delayed_ns", c_uint64),
        ("boosted", c_uint32),
        ("pad", c_uint32),
        ("comm", c_char * 16),
    )
