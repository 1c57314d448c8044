# SPDX-License-Identifier: Apache-2.0
"""Declarations of what will be needed, and when each is looked at again."""
