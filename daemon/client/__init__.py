# SPDX-License-Identifier: Apache-2.0
"""The client of the intent API: small, synchronous, standard library and msgspec only.

`Client` speaks to the daemon; `run_in_call` (in `client.calls`) executes a command inside a
call. Both import fast, because they are on the path of every tool call.
"""

from agentcg.daemon.client.client import DEFAULT_SOCKET, Client, socket_path

__all__ = ["DEFAULT_SOCKET", "Client", "socket_path"]
