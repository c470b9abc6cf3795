"""``aigis-host``: what a node starts to run Python plugins."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

USAGE = """usage: aigis-host core|run    started by a node, which gives it AIGIS_SOCKET
       aigis-host check       loads the core plugin that standard input describes, and lists its skills
"""


_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> NoReturn:
    """Runs the part of the host that the first argument names."""
    word = sys.argv[1] if len(sys.argv) == 2 else ""
    # Python puts the working directory, or the script's, before all else: neither is the plugin's to choose.
    if sys.path[0] in ("", os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))) and sys.path[0] != _PACKAGES:
        del sys.path[0]
    hosted = bool(os.environ.get("AIGIS_SOCKET"))
    if word == "core" and hosted:
        from .core import main as run
    elif word == "run" and hosted:
        from .run import main as run
    elif word == "check" and not sys.stdin.isatty():
        from .check import main as run
    else:
        sys.stderr.write(USAGE)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
