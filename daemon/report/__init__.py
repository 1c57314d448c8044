# SPDX-License-Identifier: Apache-2.0
"""Recordings of sessions, what they say, a page to look at, and traces to play again."""
