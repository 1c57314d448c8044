# SPDX-License-Identifier: Apache-2.0
"""BPF programs and their loaders."""
