# SPDX-License-Identifier: Apache-2.0
"""A small MCP server: the model itself asks for room, and reads its feedback.

`agentcg mcp` speaks JSON-RPC on standard input and output, one message a line (the stdio transport
of the Model Context Protocol). Standard library only, as the client that it uses.
"""

from agentcg.mcp.server import Server, serve

__all__ = ["Server", "serve"]
