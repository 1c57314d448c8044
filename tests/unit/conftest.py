# SPDX-License-Identifier: Apache-2.0
"""Settings of all unit tests."""

from hypothesis import settings

# No deadline: how long an example takes says more about the machine than about the code.
settings.register_profile("agentcg", deadline=None)
settings.load_profile("agentcg")
