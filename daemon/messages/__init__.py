# SPDX-License-Identifier: Apache-2.0
"""The words of the intent API: what crosses the socket, as types.

The OpenAPI document is generated from these types, the server validates requests with them
and the client decodes answers with them, so there is one place where a field is defined.

Units are in the names: `_bytes`, `_us` (microseconds), `_s` (seconds). Times of day are
seconds since the epoch, as a float. `None` means "not known, or this kernel has no such
thing", never zero. Requests refuse unknown fields; answers may grow new ones, which clients
ignore.
"""

# All of them are messages to whoever imports this; that they are in four files is for the reader.
from agentcg.daemon.messages.answers import *  # noqa: F403
from agentcg.daemon.messages.calls import *  # noqa: F403
from agentcg.daemon.messages.requests import *  # noqa: F403
from agentcg.daemon.messages.words import *  # noqa: F403
