# SPDX-License-Identifier: Apache-2.0
"""For the serving side of agents: how long to keep a KV cache while a tool call runs.

- `ttl`: its time-to-live from a forecast and a stated cost model; pure
- `adapters`: events and forecasts as what a router or engine takes; plain data

It needs the standard library alone. `agentcg bridge` does the same without code.
"""

from agentcg.serving.adapters import dynamo, thunderagent, webhook
from agentcg.serving.ttl import Costs, Quantiles, expected_cost, quantiles_of, time_to_live

__all__ = [
    "Costs",
    "Quantiles",
    "dynamo",
    "expected_cost",
    "quantiles_of",
    "thunderagent",
    "time_to_live",
    "webhook",
]
