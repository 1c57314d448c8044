# SPDX-License-Identifier: Apache-2.0
"""What a policy would do, tried without a daemon: on facts, and on a snapshot of a host.

Pure, like the engine that it asks: `facts` turns what the API tells into what rules ask for,
`snapshot` reads a snapshot, `outcome` has the engine decide on it.
"""
