# SPDX-License-Identifier: Apache-2.0
"""The client of the intent API: all of it, as typed messages.

`Client` speaks to the daemon, over what `agentcg.client` is made of; `run_in_call` (in
`client.calls`) executes a command inside a call. Both import fast, because they are on the path of
every tool call.
"""

from pathlib import Path

from agentcg.client import choice
from agentcg.daemon.client.client import Client, socket_path

DEFAULT_SOCKET = Path(choice.DEFAULT_SOCKET)

__all__ = ["DEFAULT_SOCKET", "Client", "socket_path"]
