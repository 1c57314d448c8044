# SPDX-License-Identifier: Apache-2.0
"""Print the JSON Schema: `python -m agentcg.policies > policies/schema.json`."""

import json

from agentcg.policies.schema import SCHEMA

print(json.dumps(SCHEMA, indent=2))
