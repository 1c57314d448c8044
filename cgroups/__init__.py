# SPDX-License-Identifier: Apache-2.0
"""cgroup v2: typed handles, knobs, events and placement."""
