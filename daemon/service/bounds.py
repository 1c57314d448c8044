# SPDX-License-Identifier: Apache-2.0
"""How much of everything there may be. Chosen for 1,000 agents on one host, with room.

A call costs two descriptors (its directory and cgroup.events) and about 4 KiB here, a session
three, and one more once its agent has had a lease.
"""

SESSIONS_MAX = 4096
SESSIONS_PER_UID_MAX = 2048
CALLS_MAX = 16384
CALLS_PER_UID_MAX = 8192
"""In all sessions that a user opened, so that no user can take every call of the host."""
CALLS_PER_SESSION_MAX = 256
"""Running and lingering together; a policy's `max_calls` bounds the running ones further."""
SERVERS_PER_SESSION_MAX = 64
INTENTS_PER_SESSION_MAX = 32
INTENTS_MAX_BYTES = 48 * 1024
"""Of one session, as kept: an extended attribute holds 64 KiB (XATTR_SIZE_MAX)."""
INTENTS_PER_S = 500.0
INTENTS_WAITING_PER_UID_MAX = 256
"""Those that wait for room are answered anew again and again."""
INTENTS_HELD_PER_UID_MAX = 4096
"""Those that memory is held for, now or later: what is to come is summed up for all who wait."""
INTENTS_AT_ONCE = 2000.0
"""Declarations and changes of one session, each second, and at once after a pause."""

EMPTIED_GRACE_S = 0.5
"""How long a call that emptied waits for its declared end, which brings the exit status."""
UNUSED_CALL_S = 300.0
"""A call into which no process was placed for so long is `expired`."""
TICK_S = 1.0
QUIET_TICK_S = 60.0
"""The same while there is no session."""
CLOSE_STUCK_S = 5.0
"""Closing a session waits for its killed processes, unless for so long they did not get fewer."""
