# SPDX-License-Identifier: Apache-2.0
"""For the serving side of agents: how long to keep a KV cache while a tool call runs.

- `ttl`: its time-to-live from a forecast and a stated cost model; pure
- `adapters`: events and forecasts as what a router or engine takes, and back; plain data
- `events`: the daemon's events, for asyncio

It needs the standard library alone. `agentcg bridge` does the same without code.
"""

from agentcg.serving.adapters import (
    continuum,
    dynamo,
    intent_of,
    program,
    thunderagent,
    webhook,
)
from agentcg.serving.events import events
from agentcg.serving.ttl import Costs, Quantiles, expected_cost, quantiles_of, time_to_live

__all__ = [
    "Costs",
    "Quantiles",
    "continuum",
    "dynamo",
    "events",
    "expected_cost",
    "intent_of",
    "program",
    "quantiles_of",
    "thunderagent",
    "time_to_live",
    "webhook",
]
