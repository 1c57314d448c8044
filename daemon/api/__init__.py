# SPDX-License-Identifier: Apache-2.0
"""The intent API: HTTP/1.1 with JSON over a Unix socket.

`routes` is the one table of what there is: the server dispatches by it and the OpenAPI
document is made of it. Every answer that is not what was asked for is an RFC 9457 problem
document. All quotas and bounds are in `bounds`.
"""
