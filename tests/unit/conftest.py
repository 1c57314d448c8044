# SPDX-License-Identifier: Apache-2.0
"""Settings of all unit tests."""

from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code. The examples are the
# same each time, so that what passed once passes again; to look for others:
#     pytest tests/unit --hypothesis-profile=explore
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("agentcg", settings.get_profile("explore"), derandomize=True)
settings.load_profile("agentcg")
