# SPDX-License-Identifier: Apache-2.0
"""What sessions and calls used: read from the kernel and BPF, summed up, and kept on disk."""
