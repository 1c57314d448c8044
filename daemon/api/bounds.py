# SPDX-License-Identifier: Apache-2.0
"""What one peer may take of the server, and for how long."""

HEADER_LINE_MAX_BYTES = 8190
CONNECTIONS_MAX = 8192
CONNECTIONS_PER_UID_MAX = 4096
"""A thousand agents of one user, each with a kept connection and a stream of events."""
REQUESTS_PER_UID_MAX = 2048
"""Requests being answered at once; those that wait for room count, too."""
REQUESTS_AHEAD_MAX = 128
"""Requests that a peer may send on one connection before the first of them is answered."""
REQUESTS_PER_TURN = 8
"""Requests of a user that are begun in one turn of the event loop; the others stand in line."""
LARGE_BODIES_PER_UID_MAX = 64
"""Of 1 MiB each at most (hooks; all others have 64 KiB), while they arrive."""
LARGE_ANSWERS_PER_UID = 8
"""Lists and documents that are made and sent at once; who asks for more waits."""
IDLE_S = 75.0
"""A connection without a request for so long is closed, also one with half a header sent, and one
whose peer does not take its answers."""
BODY_S = 10.0
"""A body must have arrived within this."""
WRITE_S = 30.0
"""A reader of events or of a large answer that takes nothing for so long is dropped."""
UNSENT_MAX_BYTES = 16 * 1024
"""What a connection may leave in our memory, beside its latest answer, until it is waited for."""
KEEPALIVE_S = 15.0
"""Silence after which a stream of events gets a comment, so that both sides notice a loss."""
BACKLOG = 1024
ACCEPT_PAUSE_S = 0.2
"""How long to accept nobody when there are no descriptors left; new peers wait in the backlog."""
METRICS_SESSIONS_MAX = 256
"""Sessions that have figures of their own in a scrape."""
