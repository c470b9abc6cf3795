"""An internal plugin: the ``launch`` of its module, in a process of its own."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import signal
import sys
import threading
from typing import Any, Callable, Dict, List, NoReturn

from .._proxy import root
from .._proxy.context import Scope, scope
from .._proxy.session import Session, begin, install
from ..errors import FailedPrecondition
from . import modules
from .logger import PluginLogger, sender
from .plugin import Description
from .serving import Server
from .space import Copies
from .table import Table

#: The exit code of a plugin that cannot be launched at all.
UNUSABLE = 78
#: How long the program may take to end once its host is gone.
_LAST_S = 5.0


class Runner(Server):
    """Answers uses of handles while ``launch`` runs."""

    def lost(self) -> None:
        # Nobody looks after this process any more, so it must not outlive its host.
        last = threading.Timer(_LAST_S, os._exit, (1,))
        last.daemon = True
        last.start()
        os.kill(os.getpid(), signal.SIGTERM)


class Program:
    """What stands for the plugin in logs and handles."""

    def __init__(self, description: Description, session: Session) -> None:
        self.name = description.name
        self.ci = session.table.ci
        self.root = description.root
        self.send = sender(session.bridge, None)
        self.logger = PluginLogger(f"aigis.{self.name}", self.send)


def main() -> NoReturn:
    """Runs the plugin that the host describes, and ends with its exit code."""
    sys.dont_write_bytecode = True
    table = Table()
    session = begin("run", Runner(table), table)
    install(session)
    description = Description(session.bridge.welcome.get("plugin") or {})
    program = Program(description, session)
    scope.set(Scope(program))
    if description.type == "internal-local":
        cores = [Description(told) for told in session.bridge.welcome.get("core") or ()]
        root.set_locals(Copies(cores, program.send))
    modules.put_first(description.path, description.entrypoint)
    sys.argv[:] = [description.launch]
    try:
        launch = _find(description)
    except FailedPrecondition as error:
        session.bridge.fail(error)
        print(error, file=sys.stderr)
        sys.exit(UNUSABLE)
    session.bridge.send({"t": "ready"})
    _enter(launch, program.logger)
    sys.exit(0)


def _find(description: Description) -> Callable[..., Any]:
    """The function ``launch`` of the module that LAUNCH names.

    Raises :class:`~aigis.errors.FailedPrecondition` if there is none; what the module itself raises is its own.
    """
    name = description.launch
    if os.path.isabs(name) or name.endswith(".py"):
        file = os.path.join(description.entrypoint, name)
        module = _load_file(file)
        shown = os.path.relpath(file, description.root)
    else:
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            found = None
        if found is None:
            raise FailedPrecondition(
                f"LAUNCH names the module {name}, which is not to be found in {description.entrypoint}"
            )
        module = importlib.import_module(name)
        shown = f"{name} ({module.__file__})"
    launch = getattr(module, "launch", None)
    if not callable(launch):
        raise FailedPrecondition(f"{shown} has no function launch")
    return launch  # type: ignore[no-any-return]


def _load_file(file: str) -> Any:
    name = os.path.splitext(os.path.basename(file))[0]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not os.path.isfile(file):
        raise FailedPrecondition(f"LAUNCH names {file}, which is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _enter(launch: Callable[..., Any], logger: PluginLogger) -> None:
    args: List[Any] = []
    kwargs: Dict[str, Any] = {}
    try:
        parameters = inspect.signature(launch).parameters
    except (ValueError, TypeError):
        parameters = {}  # type: ignore[assignment]
    for name, parameter in parameters.items():
        positional = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if positional and parameter.default is parameter.empty and not args:
            args.append(logger)
        elif name in ("log", "logger") and parameter.kind is not parameter.POSITIONAL_ONLY:
            kwargs[name] = logger
    if args and kwargs and next(iter(parameters)) in kwargs:
        kwargs.pop(next(iter(parameters)))
    result = launch(*args, **kwargs)
    if inspect.iscoroutine(result):
        import asyncio

        asyncio.run(result)
