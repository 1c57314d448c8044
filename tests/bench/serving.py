#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a KV cache's time-to-live from forecasts is worth, on runs never seen.

    python tests/bench/serving.py [--traces DIR] [--json FILE]

Runs are parted as in tests/bench/forecast.py. During each shell call of a run that was not taught
the program's cache is kept for a time; the cost is that of `agentcg.serving.ttl`: a second of
keeping costs `hold`, a miss the prefill and a turn in the queue. No engine runs: contexts are
taken to be 20,000 tokens at 5,000 a second, 2 s of queue, and 1, 10 or 50% of the KV memory each.

- `agentcg`: the time-to-live from the daemon's forecast as the call begins
- `none`, `2 s`, `30 s`, `for good`: the same for all calls
- `knowing`: what would have been best, known before

`cost`: seconds of the engine a call; `hits`: calls after which the cache was still there.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable

from forecast import Asked, asked, chosen, run_of, teaches, ways

from agentcg.serving import Costs, Quantiles, time_to_live

FIXED_S = {"none": 0.0, "2 s": 2.0, "30 s": 30.0, "for good": math.inf}


def main() -> None:
    """Print a table, or write JSON."""
    options, traces = chosen(__doc__ or "")
    daemon = ways([c for t in traces if teaches(t) for c in run_of(t)])["daemon"]
    looks = [
        one for trace in traces if not teaches(trace)
        for one in asked(run_of(trace)) if one.elapsed_s == 0
    ]  # fmt: skip
    result = {}
    for share in (0.01, 0.1, 0.5):
        costs = Costs(20_000, 5_000.0, queue_s=2.0, cache_share=share)

        def by_forecast(one: Asked, costs: Costs = costs) -> float:
            return time_to_live(Quantiles(*daemon(one).remaining_s), costs)

        def knowing(one: Asked, costs: Costs = costs) -> float:
            keeps = costs.hold * one.call.wall_s <= costs.miss_s
            return one.call.wall_s if keeps else 0.0

        keeps: dict[str, Callable[[Asked], float]] = {"agentcg": by_forecast}
        keeps |= {name: lambda _, s=fixed_s: s for name, fixed_s in FIXED_S.items()}
        keeps["knowing"] = knowing
        for name, keep in keeps.items():
            cost, hits = 0.0, 0
            for one in looks:
                keep_s = keep(one)
                hit = one.call.wall_s <= keep_s
                cost += costs.hold * min(one.call.wall_s, keep_s) + (0 if hit else costs.miss_s)
                hits += hit
            result[f"{share:.0%} {name}"] = {"cost": cost / len(looks), "hits": hits / len(looks)}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, got in result.items():
        print(f"{name:16} cost {got['cost']:.4f}  hits {got['hits']:.2%}  ({len(looks)})",
              file=sys.stderr)  # fmt: skip


if __name__ == "__main__":
    main()
