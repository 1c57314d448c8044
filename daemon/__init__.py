# SPDX-License-Identifier: Apache-2.0
"""The daemon `agentcgd`, its intent API, and the command line `agentcg`.

Imports go one way: messages <- engine <- service <- api <- main, and
messages <- client <- cli, replay (which reach the daemon through its socket only).
"""
