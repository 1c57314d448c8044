# SPDX-License-Identifier: Apache-2.0
"""Real clients on the installed service, in the guest."""
