# SPDX-License-Identifier: Apache-2.0
"""Settings of all tests: what they inherit from whoever runs them must not matter."""

from __future__ import annotations

import os
import signal

# What a script starts in the background ignores ^C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.umask(0o022)  # some of what tests make is for other users
