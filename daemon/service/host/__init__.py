# SPDX-License-Identifier: Apache-2.0
"""The machine around: the sessions' root, who asks, what the kernel tells, threads that write."""
