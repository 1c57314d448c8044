# SPDX-License-Identifier: Apache-2.0
"""Calls from begin to end: letting them in, what people do to them, how they end."""
