# SPDX-License-Identifier: Apache-2.0
"""Hooks of agents: what their JSON means, and what is said back. Pure.

The program that a client runs as its hook (`hooks/native`) passes on what it was given, and prints
what it gets; all that is to be known of clients is here.
"""

from agentcg.daemon.hooks.read import Event, read
from agentcg.daemon.hooks.words import say

__all__ = ["Event", "read", "say"]
