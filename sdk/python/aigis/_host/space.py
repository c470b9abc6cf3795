"""What a process has of the namespace itself: the leaves of the plugins that it has loaded."""

from __future__ import annotations

import threading
from typing import Any, Dict, List

from .._proxy.root import MISSING, Node
from . import modules
from .logger import Send
from .plugin import Description, Plugin


class Space:
    """The plugins of a core host that others may reach."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plugins: Dict[str, Plugin] = {}
        # Both are replaced, never changed: readers take no lock.
        self._leaves: Dict[str, Plugin] = {}
        self._prefixes: Dict[str, None] = {}

    def serve(self, plugin: Plugin) -> None:
        """Lets a plugin be reached, in place of a former copy of it."""
        with self._lock:
            self._plugins[plugin.name] = plugin
            self._rebuild()

    def remove(self, plugin: Plugin) -> None:
        """Lets it be reached no more, unless another copy has taken its place."""
        with self._lock:
            if self._plugins.get(plugin.name) is plugin:
                del self._plugins[plugin.name]
                self._rebuild()

    def _rebuild(self) -> None:
        leaves = {path: plugin for plugin in self._plugins.values() for path in plugin.leaves}
        prefixes: Dict[str, None] = {}
        for path in leaves:
            parts = path.split(".")
            prefixes.update((".".join(parts[:length]), None) for length in range(1, len(parts)))
        self._leaves, self._prefixes = leaves, prefixes

    def get(self, path: str) -> Any:
        """What stands at ``path`` here, else ``MISSING``."""
        plugin = self._leaves.get(path)
        if plugin is not None:
            return plugin.local(path)
        return Node(path) if path in self._prefixes else MISSING


class Copies(Space):
    """The core plugins of an ``internal-local`` process: copies of its own, loaded when a name of theirs is touched."""

    def __init__(self, descriptions: List[Description], send: Send) -> None:
        super().__init__()
        self._send = send
        self._loading = threading.RLock()
        self._waiting = {
            description.name: (description, {leaf.partition(".")[0] for leaf in description.leaves})
            for description in descriptions
        }

    def get(self, path: str) -> Any:
        """What stands at ``path`` in a copy, which is loaded first if need be.

        Raises what the loading raises.
        """
        first = path.partition(".")[0]
        if self._waiting:
            with self._loading:
                for name, (description, firsts) in tuple(self._waiting.items()):
                    if first in firsts and self._waiting.pop(name, None) is not None:
                        modules.add_paths(description.path, description.entrypoint)
                        self.serve(Plugin(description, self._send).load())
        return super().get(path)
