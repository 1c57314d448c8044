# SPDX-License-Identifier: Apache-2.0
"""Recorded agent work as real load: the same trace under one control after another.

`trace` reads a recording (or `generate` draws one), `plan` turns it into steps, `agent` plays the
steps with real processes and real memory, `executor` watches, `result` counts, `report` shows.
What the numbers mean: docs/benchmarks.md.
"""
