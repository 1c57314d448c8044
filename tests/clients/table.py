# SPDX-License-Identifier: Apache-2.0
"""The table of docs/clients.md."""

from __future__ import annotations

from clients.catalogue import Client
from clients.run import Outcome

HEAD = (
    "| client | calls | found | recall | precision | found by | in a leaf | after exec, p50/p99 |",
    "|---|---|---|---|---|---|---|---|",
)


def row(client: Client, outcome: Outcome) -> str:
    placed = sorted(
        call["placed_after_us"] for call in outcome.calls if call["placed_after_us"] is not None
    )
    by = "/".join(sorted({call["found"] for call in outcome.calls}))
    if any(call["shared"] for call in outcome.calls):
        by += ", shared"
    times = "-"
    if placed:
        p99 = placed[min(len(placed) - 1, len(placed) * 99 // 100)]
        times = f"{placed[len(placed) // 2] / 1000:.1f}/{p99 / 1000:.1f} ms"
    return (
        f"| {client.name} | {outcome.asked} | {len(outcome.calls)} | {outcome.recall:.0%} | "
        f"{outcome.precision:.0%} | {by} | {len(placed)} | {times} |"
    )
