# SPDX-License-Identifier: Apache-2.0
"""How much of everything there may be. Chosen for 1,000 agents on one host, with room.

A call costs two descriptors (its directory and cgroup.events) and about 4 KiB here, a session
three descriptors.
"""

SESSIONS_MAX = 4096
SESSIONS_PER_UID_MAX = 2048
CALLS_MAX = 16384
CALLS_PER_UID_MAX = 8192
"""In all sessions that a user opened, so that no user can take every call of the host."""
CALLS_PER_SESSION_MAX = 256
"""Running and lingering together; a policy's `max_calls` bounds the running ones further."""
INTENTS_PER_SESSION_MAX = 32

EMPTIED_GRACE_S = 0.5
"""How long a call that emptied waits for its declared end, which brings the exit status."""
UNUSED_CALL_S = 300.0
"""A call into which no process was placed for so long is `expired`."""
TICK_S = 1.0
CLOSE_TIMEOUT_S = 5.0
"""How long closing a session waits for its killed processes to be gone."""
