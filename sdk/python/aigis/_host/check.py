"""A throw-away host that loads one core plugin and says what it would offer."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

from .._proxy.session import forbid
from .._values.faults import body_of
from ..errors import AigisError
from . import modules
from .logger import to_stderr
from .plugin import Description, Plugin


def main() -> NoReturn:
    """Reads a plugin's description from standard input, prints its leaves or its error, and exits with 0 or 65."""
    sys.dont_write_bytecode = True
    forbid()
    # What the plugin prints must not stand between what this prints.
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    code = 0
    try:
        told = json.load(sys.stdin)
        description = Description(told if isinstance(told, dict) else {})
        modules.add_paths(description.path, description.entrypoint)
        result = Plugin(description, to_stderr).load().ready()
    except AigisError as error:
        result, code = {"error": body_of(error)}, 65
    except ValueError as error:
        result, code = {"error": {"code": "invalid_argument", "message": f"standard input is no JSON: {error}"}}, 65
    print(json.dumps(result, default=str), file=answer, flush=True)
    sys.stderr.flush()
    # The plugin may have started threads, which would keep the interpreter.
    os._exit(code)
