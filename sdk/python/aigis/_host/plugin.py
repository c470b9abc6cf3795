"""One loaded copy of a core plugin: its modules, its leaves, its logger and its threads."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
import types
from typing import Any, Dict, List, Mapping, Optional

from .._proxy.context import Scope, scope
from .._values.faults import expose
from ..errors import AigisError, FailedPrecondition, InvalidArgument, NotFound
from . import environment, modules
from .exposure import Exposure, Wrong
from .leaf import Late, Leaf
from .logger import PluginLogger, Send
from .pool import Pool

#: How long ``cleanup`` may take.
CLEANUP_S = 5.0


class Description:
    """A plugin as its host describes it."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Reads the description.

        Raises :class:`~aigis.errors.InvalidArgument` that names what is missing or wrong.
        """

        def text(key: str) -> str:
            value = told.get(key)
            if not isinstance(value, str) or not value:
                raise InvalidArgument(f"the description of a plugin has no {key}")
            return value

        self.name = text("name")
        self.type = text("type")
        self.root = os.path.abspath(text("root"))
        self.entrypoint = os.path.abspath(text("entrypoint"))
        self.launch: str = str(told.get("launch") or "")
        self.path: List[str] = [str(folder) for folder in told.get("path") or ()]
        self.leaves: List[str] = [str(leaf) for leaf in told.get("leaves") or ()]
        self.effects: Dict[str, Any] = dict(told.get("effects") or {})
        self.env: Dict[str, str] = {str(name): str(value) for name, value in (told.get("env") or {}).items()}
        self.timeout_s: Optional[float] = told.get("timeout_s")
        self.concurrency: int = int(told.get("concurrency") or 32)


class Plugin:
    """A copy of a core plugin: loaded by :meth:`load`, ended by :meth:`close`."""

    def __init__(self, description: Description, send: Send, gen: int = 0) -> None:
        self.description = description
        self.name = self.ci = description.name
        self.root = description.root
        self.gen = gen
        self.send = send
        self.logger = PluginLogger(f"aigis.{self.name}", send)
        self.pool = Pool(self.name, description.concurrency)
        self.leaves: Dict[str, Leaf] = {}
        self.warnings: List[str] = []
        self._cleanup: Any = None

    def load(self) -> "Plugin":
        """Runs ``AIGIS.core`` and registers what its SKILLS name: all of it, or nothing.

        Raises :class:`~aigis.errors.AigisError` with ``data["file"]``, after which all is as before.
        """
        token = scope.set(Scope(self))
        left = environment.give(self.name, self.description.env)
        try:
            with modules.fresh(self.root):
                names = self._execute()
                self._register(names)
        finally:
            scope.reset(token)
        self.warnings = [*self.warnings, *left]
        return self

    def _execute(self) -> Dict[str, Any]:
        file = os.path.join(self.root, "AIGIS", "AIGIS.core")
        where = "AIGIS/AIGIS.core"
        try:
            with open(file, "rb") as source:
                code = compile(source.read(), file, "exec", dont_inherit=True)
        except OSError as error:
            raise InvalidArgument(f"{where}: {error.strerror or error}", data={"file": where}) from None
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            raise InvalidArgument(f"{where}, line {line}: {error}", data={"file": where, "line": line}) from None
        # A module of its own, so that classes and functions that it defines know where they are from.
        module = types.ModuleType("AIGIS_core_" + re.sub(r"\W", "_", self.name))
        module.__file__ = file
        sys.modules[module.__name__] = module
        try:
            exec(code, module.__dict__)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise _broken(error, where, file) from error
        return module.__dict__

    def _register(self, names: Dict[str, Any]) -> None:
        description = self.description
        exposure = Exposure(self.root, description.effects, description.timeout_s)
        try:
            self.leaves = exposure.expose(names)
        except Wrong as error:
            raise InvalidArgument(f"AIGIS/AIGIS.core: {error}", data={"file": "AIGIS/AIGIS.core"}) from None
        self.warnings = exposure.warnings
        for path, leaf in self.leaves.items():
            if leaf.kind == "exception":
                expose(leaf.value, path)
        found = names.get("cleanup")
        self._cleanup = found if callable(found) else None

    def ready(self) -> Dict[str, Any]:
        """What ``ready`` tells of it."""
        return {"skills": [leaf.describe() for leaf in self.leaves.values()], "warnings": self.warnings}

    def find(self, path: str) -> Optional[Leaf]:
        """What is called at ``path``: a leaf, or one name below an open one."""
        leaf = self.leaves.get(path)
        if leaf is not None:
            return None if leaf.kind == "open" else leaf
        above, _, name = path.rpartition(".")
        leaf = self.leaves.get(above)
        if leaf is None or leaf.kind != "open" or name.startswith("_"):
            return None
        late = Late(path, functools.partial(self._below, leaf.value, path, name))
        late.effect = leaf.effect
        return late

    def _below(self, value: Any, path: str, name: str) -> Leaf:
        try:
            found = getattr(value, name)
        except AttributeError as error:
            raise NotFound(f"there is no {path}: {error}") from None
        if callable(found):
            return Leaf(path, "function", found)
        return Leaf(path, "value", functools.partial(getattr, value, name))

    def local(self, path: str) -> Any:
        """What other plugins of this process get at ``path``.

        Raises ``KeyError`` if nothing stands there.
        """
        return self.leaves[path].local(self)

    def close(self, grace_s: float) -> None:
        """Waits for the calls that run, then runs ``cleanup``, once."""
        self.pool.close(grace_s)
        cleanup, self._cleanup = self._cleanup, None
        if cleanup is None:
            return

        def run() -> None:
            scope.set(Scope(self))
            try:
                cleanup()
            except BaseException as error:
                self.logger.error("cleanup failed", exc_info=error)

        thread = threading.Thread(target=run, name=f"aigis-cleanup-{self.name}", daemon=True)
        thread.start()
        thread.join(CLEANUP_S)
        if thread.is_alive():
            self.logger.error("cleanup took over %d s and was left behind", CLEANUP_S)


def check_clash(description: Description, others: "List[Plugin]") -> None:
    """Sees whether a plugin can share this process with others.

    Raises :class:`~aigis.errors.FailedPrecondition` that names the module which both have.
    """
    for other in others:
        if other.name == description.name:
            continue
        module = modules.clash(description.entrypoint, other.root)
        if module is not None:
            raise FailedPrecondition(
                f"{description.name} and {other.name} each have a module {module} of their own",
                hint="it needs a core host of its own",
                data={"clash": {"module": module, "plugin": other.name}},
            )


def _broken(error: BaseException, where: str, file: str) -> AigisError:
    """What ended ``AIGIS.core``, with the line in it that led there."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    at = f"{where}, line {line}" if line else where
    from .._values.faults import body_of

    data: Dict[str, Any] = {"file": where, "line": line}
    if not isinstance(error, AigisError):
        data["exception"] = body_of(error)["data"]["exception"]
    return InvalidArgument(f"{at}: {type(error).__name__}: {error}", data=data)
