# SPDX-License-Identifier: Apache-2.0
"""`agentcg bench policy`: what the policies are worth, measured with any directory of traces.

- `windows`, `mixes`: which part of which trace is played, by whom, with how much memory; pure
- `units`: the pieces of work, each kept as soon as it is done
- `storm`, `zram`: a call that takes everything; swap for the time of a measurement
- `figures`: from kept pieces to the figures; pure

What each figure shows and how: docs/benchmarks.md.
"""
