# SPDX-License-Identifier: Apache-2.0
"""Figures of the scheduler and of memory delay on this machine, beside the kernel's own.

Run as root where nothing else matters: the loads use all CPUs, and the scheduler takes charge.
"""
