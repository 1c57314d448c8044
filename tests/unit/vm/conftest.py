# SPDX-License-Identifier: Apache-2.0
"""The guest's tool is no package of the project: its folder goes on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "vm"))
