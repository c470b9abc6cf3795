"""A core host: the core plugins of a node, together in one process."""

from __future__ import annotations

import atexit
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, Dict, NoReturn, Optional, Set

from .._bridge import Frame
from .._proxy import root
from .._proxy.session import Session, begin, install
from .._values import dump
from ..errors import AigisError, Cancelled, InvalidArgument, NotFound, PermissionDenied, Unavailable
from . import modules, output
from .logger import sender
from .plugin import CLEANUP_S, Description, Plugin, check_clash
from .serving import Server, call_of
from .space import Space
from .table import Table

#: How long what runs may take to end when the host is gone, or asks by a signal.
_GRACE_S = 2.0
#: How long a former copy's last call may take.
_UNLOAD_S = 30.0


class Core(Server):
    """Loads, serves and unloads plugins as the host says."""

    session: Session

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.space = Space()
        self._plugins: Dict[int, Plugin] = {}
        self._loads: "queue.SimpleQueue[Frame]" = queue.SimpleQueue()
        self._loading: Optional[int] = None
        #: The loads that are to come or under way, and those of them that were given up.
        self._begun: Set[int] = set()
        self._cancelled: Set[int] = set()
        self._stopping = False
        self._stop_lock = threading.Lock()

    def main(self) -> NoReturn:
        """Loads plugins on the main thread, where their code may expect to be, until the process ends."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, lambda *_: self.stop(_GRACE_S))
        while True:
            self._load(self._loads.get())

    # On the thread that reads:

    def control(self, do: str, frame: Frame) -> None:
        number, gen = frame.header["id"], frame.header.get("gen")
        if do == "status":
            self.reply(number, self.status())
        elif do == "load":
            self._begun.add(number)
            self._loads.put(frame)
        elif do == "serve":
            self.space.serve(self._plugin(gen))
            self.reply(number, None)
        elif do == "unload":
            plugin = self._plugin(gen)
            grace = frame.header.get("grace_ms")
            grace_s = grace / 1000 if type(grace) is int and grace >= 0 else _UNLOAD_S
            work = threading.Thread(target=self._unload, args=(number, plugin, grace_s), daemon=True)
            work.start()
        else:
            super().control(do, frame)

    def skill(self, frame: Frame) -> None:
        if self._stopping:
            raise Unavailable("the core host is ending", data={"sent": False})
        plugin = self._plugin(frame.header.get("gen"))
        path = str(frame.header.get("path", ""))
        leaf = plugin.find(path)
        if leaf is None:
            if any(segment.startswith("_") for segment in path.split(".")):
                raise PermissionDenied(f"{path:.80}: names with a leading _ are private")
            raise NotFound(f"{plugin.name} has no skill {path!r:.80}", data={"skills": sorted(plugin.leaves)})
        call = call_of(frame)
        call.effect = leaf.effect
        self.run(frame, leaf, plugin, plugin.pool, call)

    def status(self) -> Dict[str, Any]:
        plugins = {plugin.name: {"gen": gen, **plugin.pool.status()} for gen, plugin in sorted(self._plugins.items())}
        return {"handles": self.table.held_by(), "plugins": plugins}

    def cancel(self, number: int) -> None:
        super().cancel(number)
        if number in self._begun:
            self._cancelled.add(number)
            if self._loading == number:
                # Wakes the main thread even out of a sleep; the handler sees what is meant.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def stop(self, grace_s: float) -> None:
        with self._stop_lock:
            if self._stopping:
                return
            self._stopping = True
        threading.Thread(target=self._end, args=(grace_s,), name="aigis-stop").start()

    def lost(self) -> None:
        self.stop(0.0)

    # On the main thread:

    def _interrupt(self, *_: Any) -> None:
        if self._loading is not None and self._loading in self._cancelled:
            raise KeyboardInterrupt

    def _load(self, frame: Frame) -> None:
        number, gen = frame.header["id"], frame.header.get("gen")
        plugin: Optional[Plugin] = None
        try:
            self._loading = number
            if number in self._cancelled:
                raise KeyboardInterrupt
            if type(gen) is not int or gen in self._plugins:
                raise InvalidArgument(f"{gen!r:.20} is no new generation")
            plugin = self._new(frame, gen)
        except KeyboardInterrupt:
            self.refuse(number, Cancelled("the loading was given up"))
            return
        except Exception as error:
            self.refuse(number, error)
            return
        finally:
            self._loading = None
            self._begun.discard(number)
            self._cancelled.discard(number)
        self._plugins[gen] = plugin
        self._send({"t": "ready", "id": number}, dump(plugin.ready()).encode())

    def _new(self, frame: Frame, gen: int) -> Plugin:
        try:
            description = Description(json.loads(frame.body))
        except ValueError as error:
            if isinstance(error, AigisError):
                raise
            raise InvalidArgument(f"the description of a plugin is no JSON: {error}") from None
        check_clash(description, list(self._plugins.values()))
        plugin = Plugin(description, sender(self.session.bridge, gen), gen)
        modules.add_paths(description.path, description.entrypoint)
        try:
            return plugin.load()
        except BaseException as error:
            modules.remove_paths(description.path, description.entrypoint)
            told = getattr(error, "data", {}).get("exception", {}).get("traceback")
            plugin.logger.error("%s", told or error)
            raise

    # On threads of their own:

    def _unload(self, number: int, plugin: Plugin, grace_s: float) -> None:
        self.space.remove(plugin)
        plugin.close(grace_s)
        self._forget(plugin)
        self.reply(number, None)

    def _forget(self, plugin: Plugin) -> None:
        self._plugins.pop(plugin.gen, None)
        self.table.end(plugin)
        description = plugin.description
        modules.remove_paths(description.path, description.entrypoint)
        if all(other.root != plugin.root for other in self._plugins.values()):
            modules.drop(plugin.root)

    def _end(self, grace_s: float) -> None:
        """Ends all plugins, the last one first, and the process: in a bounded time, whatever they do."""
        bound = threading.Timer(grace_s + CLEANUP_S + _GRACE_S, os._exit, (0,))
        bound.daemon = True
        bound.start()
        until = time.monotonic() + grace_s
        for _, plugin in sorted(self._plugins.items(), reverse=True):
            plugin.close(max(0.0, until - time.monotonic()))
        ending = threading.Thread(target=_run_exit_handlers, daemon=True)
        ending.start()
        ending.join(_GRACE_S)
        # Threads that plugins have left behind would keep the interpreter.
        os._exit(0)

    def _plugin(self, gen: Any) -> Plugin:
        plugin = self._plugins.get(gen)
        if plugin is None:
            raise NotFound(f"there is no generation {gen!r:.20} here")
        return plugin


def _run_exit_handlers() -> None:
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()


def main() -> NoReturn:
    """Runs a core host until its host ends it."""
    sys.dont_write_bytecode = True
    output.capture()
    table = Table()
    core = Core(table)
    install(begin("core", core, table))
    root.set_locals(core.space)
    core.main()
