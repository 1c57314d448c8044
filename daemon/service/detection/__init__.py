# SPDX-License-Identifier: Apache-2.0
"""Calls that nobody declared: agents adopted, programs recognised, hooks and servers of tools."""
