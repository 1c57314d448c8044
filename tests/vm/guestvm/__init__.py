# SPDX-License-Identifier: Apache-2.0
"""Debian guests under QEMU for tests and benchmarks; the standard library is all it needs."""
