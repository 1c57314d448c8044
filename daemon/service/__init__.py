# SPDX-License-Identifier: Apache-2.0
"""The daemon's core: sessions and calls as cgroups, and what happens to them.

One thread, one asyncio loop, nothing of HTTP. What is to be decided is decided by
`agentcg.daemon.engine`, without I/O; here it is carried out. What must survive the daemon is
written into extended attributes of the cgroups themselves before anybody is told about it.

What all parts share lies here; the folders hold the parts, and know each other in one direction:
`accounts` at the bottom, then `host`, then `intents`, `enforce` and `scheduler`, then `calls`, and
`detection` on top.
"""
