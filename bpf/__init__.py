# SPDX-License-Identifier: Apache-2.0
"""Accounting of tool calls by eBPF: what ran in a cgroup, and how it ended.

`Accounting` is the daemon's handle on the pinned program, `probe` says what this host lacks.
Importing this package loads neither bcc nor LLVM: those live in a helper process that ends
once the program is attached and pinned (`agentcg.bpf.compile`).
"""

from agentcg.bpf.accounting import Accounting
from agentcg.bpf.curves import Curve, Point
from agentcg.bpf.detection import Detection
from agentcg.bpf.events import Counters, Event, ExecEvent, ExitEvent, OomEvent
from agentcg.bpf.features import Feature, probe
from agentcg.bpf.masking import mask_secrets
from agentcg.bpf.sights import Sight

__all__ = [
    "Accounting",
    "Counters",
    "Curve",
    "Detection",
    "Event",
    "ExecEvent",
    "ExitEvent",
    "Feature",
    "OomEvent",
    "Point",
    "Sight",
    "mask_secrets",
    "probe",
]
