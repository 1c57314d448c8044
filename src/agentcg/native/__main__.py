# SPDX-License-Identifier: Apache-2.0
"""Build the programs beside this interpreter: `python -m agentcg.native`."""

from agentcg.native import main

main()
