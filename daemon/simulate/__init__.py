# SPDX-License-Identifier: Apache-2.0
"""The daemon's own decisions over recorded work in simulated time. A client of the engine only.

- `program`: what an agent does, from a replay's plan
- `kernel`: the memory model: how `memory.high` slows, whom the OOM killer takes
- `process`, `pool`: a process on its way through its memory, and what processes hold together
- `world`: discrete events; hosts, sessions and calls
- `controls`: `none`, `static`, and `governor`: `agentcg` by the engine, with its `idle` windows
- `outcome`, `density`: what came of it

No files, no clock, no threads below `command`: the same input gives the same outcome. What the
model leaves out is listed in docs/benchmarks.md.
"""
