# SPDX-License-Identifier: Apache-2.0
"""Holding memory and CPU to what the engine decides: leases, ladder, idle window, shares."""
