# SPDX-License-Identifier: Apache-2.0
"""Policies: who has which priority and budget, which calls get what."""
