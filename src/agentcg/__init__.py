# SPDX-License-Identifier: Apache-2.0
"""agentcg: a resource domain for every tool call of an AI agent."""

__version__ = "0.1.0"
