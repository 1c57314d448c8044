# SPDX-License-Identifier: Apache-2.0
"""Curves of calls: packed while they are kept, in words when somebody asks. Pure.

A packed curve is when it began (seconds since the epoch), the least distance of points and the
length of a tick (ms), and whether memory was counted; then the points as the kernel wrote them: 12
bytes each instead of 60 in JSON, and nothing to do for the many that nobody looks at.
"""

from __future__ import annotations

import struct

from agentcg.bpf import Curve as Seen
from agentcg.daemon.messages import Call, Curve, Point

_HEAD = struct.Struct("=dIH?x")


def pack(seen: Seen, boot_time: float, *, has_memory: bool) -> bytes:
    """`seen` as it is kept; `boot_time`: seconds since the epoch when the machine booted."""
    return (
        _HEAD.pack(boot_time + seen.begun_ns / 1e9, seen.gap_ms, seen.tick_ms, has_memory)
        + seen.raw
    )


def unpack(packed: bytes | None, call: Call) -> Curve:
    """The curve of `call`. What cannot be a packed curve has no points."""
    if packed is None or len(packed) < _HEAD.size or (len(packed) - _HEAD.size) % 12:
        return Curve(call=call.id, begun_at=call.begun_at, gap_s=None, points=[])
    begun_at, gap_ms, tick_ms, has_memory = _HEAD.unpack_from(packed)
    offset_s = begun_at - call.begun_at
    seen = Seen(0, gap_ms, tick_ms, packed[_HEAD.size :]).points
    scale = _scale(seen[-1].cpu_s, call) if seen else 1.0
    points = [
        Point(
            t_s=round(max(0.0, point.t_s + offset_s), 3),
            memory_bytes=point.memory_bytes if has_memory else None,
            cpu_s=round(point.cpu_s * scale, 3),
        )
        for point in seen
    ]
    return Curve(call=call.id, begun_at=call.begun_at, gap_s=gap_ms / 1000, points=points)


def _scale(sampled_s: float, call: Call) -> float:
    """What makes the samples of CPU time add up to what the account says, which is exact."""
    user, system = call.account.cpu_user_us, call.account.cpu_system_us
    if user is None or system is None or sampled_s <= 0:
        return 1.0
    return (user + system) / 1e6 / sampled_s
