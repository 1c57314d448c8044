# SPDX-License-Identifier: Apache-2.0
"""How well calls were foreseen, from those that have ended: for people and as data. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

from agentcg.daemon.cli.view.table import Cell, Column, table
from agentcg.daemon.messages import Call, Quantiles

SHARES = (0.5, 0.9, 0.99)
_WHOLE = ("declared", "exited", "emptied")
ALL = "all"


class Judged(NamedTuple):
    """Of calls of one category: how many outcomes lay within each quantile, as shares, and the
    pinball loss of each: mean of max(q * (y - f), (q - 1) * (y - f))."""

    calls: int
    coverage: tuple[float, float, float]
    loss: tuple[float, float, float]


def judged(calls: Iterable[Call]) -> dict[str, dict[str, Judged]]:
    """`duration_s` and `peak_bytes`, by category and of all. Calls that were cut short, or that
    nothing was foreseen of, say nothing."""
    pairs: dict[str, dict[str, list[tuple[float, Quantiles]]]] = {
        "duration_s": defaultdict(list), "peak_bytes": defaultdict(list),
    }  # fmt: skip
    for call in calls:
        foreseen = call.foreseen
        if foreseen is None or call.end_reason not in _WHOLE:
            continue
        for category in (ALL, call.category):
            pairs["duration_s"][category].append((call.account.wall_s, foreseen.duration_s))
            if call.held_peak_bytes is not None:
                pairs["peak_bytes"][category].append((call.held_peak_bytes, foreseen.peak_bytes))
    return {
        what: {category: _judge(found) for category, found in sorted(groups.items())}
        for what, groups in pairs.items()
    }


def _judge(found: Sequence[tuple[float, Quantiles]]) -> Judged:
    covered, loss = [0.0] * 3, [0.0] * 3
    for outcome, quantiles in found:
        for at, (share, limit) in enumerate(
            zip(SHARES, (quantiles.p50, quantiles.p90, quantiles.p99), strict=True)
        ):
            covered[at] += (outcome <= limit) / len(found)
            loss[at] += max(share * (outcome - limit), (share - 1) * (outcome - limit)) / len(found)
    first, second, third = covered
    return Judged(len(found), (first, second, third), (loss[0], loss[1], loss[2]))


def calibration_table(found: Mapping[str, Mapping[str, Judged]], width: int) -> list[Text]:
    """One line for each category: what share of its calls lay within each quantile."""
    columns = [
        Column("CATEGORY"), Column("CALLS", right=True),
        *(Column(f"{what} {name}", right=True) for what in ("TIME", "PEAK")
          for name in ("50%", "90%", "99%")),
    ]  # fmt: skip
    rows = [
        [
            Cell(category),
            Cell(str(one.calls)),
            *(Cell(f"{share:.0%}") for share in one.coverage),
            *_peaks(found["peak_bytes"].get(category)),
        ]
        for category, one in found["duration_s"].items()
    ]
    return table(columns, rows, width) if rows else [Text("no call was foreseen", "dim")]


def _peaks(one: Judged | None) -> list[Cell]:
    return [Cell("-")] * 3 if one is None else [Cell(f"{share:.0%}") for share in one.coverage]
