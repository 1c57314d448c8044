# SPDX-License-Identifier: Apache-2.0
"""Small modules, one for each framework, over `agentcg.client`: docs/integrations.md.

None of the frameworks is a dependency: each module imports its own when it is imported itself.
"""
