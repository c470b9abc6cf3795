"""The modules and import paths of plugins that share a process."""

from __future__ import annotations

import contextlib
import importlib
import linecache
import os
import site
import sys
from typing import Dict, Iterator, List, Optional

#: How many plugins have put a folder on the path.
_users: Dict[str, int] = {}


def add_paths(folders: List[str], entrypoint: str) -> None:
    """Puts a core plugin's folders at the end of the import path: it never hides a module of the host or of others."""
    for folder in [*folders, entrypoint]:
        count = _users.get(folder, 0)
        _users[folder] = count + 1
        if count == 0 and folder not in sys.path:
            # Takes its .pth files along.
            site.addsitedir(folder) if folder in folders else sys.path.append(folder)


def remove_paths(folders: List[str], entrypoint: str) -> None:
    """Takes a plugin's folders off the path again, unless others have them too."""
    for folder in [*folders, entrypoint]:
        _users[folder] = _users.get(folder, 1) - 1
        if _users[folder] <= 0:
            del _users[folder]
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


def put_first(folders: List[str], entrypoint: str) -> None:
    """Puts an internal plugin's folders before all else: it has the process to itself."""
    before = list(sys.path)
    for folder in folders:
        site.addsitedir(folder)
    added = [folder for folder in sys.path if folder not in before]
    sys.path[:] = [entrypoint, *added, *(folder for folder in before if folder != entrypoint)]


@contextlib.contextmanager
def fresh(root: str) -> Iterator[None]:
    """Lets the modules below ``root`` be loaded anew within the block; if it fails, the former ones are there again.

    Code that holds the former modules goes on with them.
    """
    former = {name: sys.modules.pop(name) for name in _below(root)}
    importlib.invalidate_caches()
    linecache.checkcache()
    try:
        yield
    except BaseException:
        for name in _below(root):
            del sys.modules[name]
        sys.modules.update(former)
        raise


def drop(root: str) -> None:
    """Forgets the modules below ``root``."""
    for name in _below(root):
        sys.modules.pop(name, None)


def clash(entrypoint: str, other: str) -> Optional[str]:
    """A top-level module that the plugin at ``other`` has loaded from its own copy, and that ``entrypoint`` has too."""
    for name in sorted({name.partition(".")[0] for name in _below(other)}):
        if os.path.isfile(os.path.join(entrypoint, name + ".py")) or os.path.isdir(os.path.join(entrypoint, name)):
            return name
    return None


def _below(root: str) -> List[str]:
    """The names of loaded modules whose code lies below ``root``."""
    prefix = os.path.realpath(root) + os.sep
    found = []
    for name, module in tuple(sys.modules.items()):
        places = [getattr(module, "__file__", None)]
        with contextlib.suppress(Exception):
            # A package without a file has folders alone.
            places.extend(getattr(module, "__path__", ()))
        if any(isinstance(place, str) and os.path.realpath(place).startswith(prefix) for place in places):
            found.append(name)
    return found
