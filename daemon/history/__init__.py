# SPDX-License-Identifier: Apache-2.0
"""History: ended calls with their accounts, on disk. It blocks: not for the daemon's loop."""

from agentcg.daemon.history.query import Found, Reader, Wanted
from agentcg.daemon.history.store import Bounds, Entry, Store, open_store
from agentcg.daemon.history.writer import Status, Writer

__all__ = [
    "Bounds",
    "Entry",
    "Found",
    "Reader",
    "Status",
    "Store",
    "Wanted",
    "Writer",
    "open_store",
]
