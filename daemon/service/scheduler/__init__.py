# SPDX-License-Identifier: Apache-2.0
"""The sched_ext scheduler and memory delay, where the kernel has them."""
