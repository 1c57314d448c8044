# SPDX-License-Identifier: Apache-2.0
"""Where `agentcgd` begins: what must be quick goes past all that the daemon itself needs."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of `agentcgd`."""
    if "--release" in sys.argv[1:] and os.environ.get("SERVICE_RESULT") == "success":
        return  # a clean stop (systemd.exec(5)): the daemon has let everybody go by itself
    if sys.argv[1:] == ["--release"]:
        _release()
        return
    from agentcg.daemon.main import main as run_daemon

    run_daemon()


def _release() -> None:
    from agentcg.daemon.service.enforce.release import release_root
    from agentcg.errors import AgentcgError

    try:
        release_root("auto")
    except AgentcgError as error:
        print(f"agentcgd: cannot release: {error}", file=sys.stderr)
        raise SystemExit(3) from error


if __name__ == "__main__":
    main()
