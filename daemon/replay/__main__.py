# SPDX-License-Identifier: Apache-2.0
"""`python -m agentcg.daemon.replay`: the sub-command by itself."""

from agentcg.daemon.replay.command import main

main()
