"""What every test may ask for: a switch, a core host with the plugin ``fx``, and this process as a client of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from aigis._proxy import session
from switch import Process, Switch

PLUGINS = Path(__file__).resolve().parent / "plugins"
_DEFAULT = Path(__file__).resolve().parents[3] / ".." / "shared" / "corpus"
CORPUS = Path(os.environ.get("AIGIS_CORPUS", _DEFAULT)).resolve() / "aigis-plugins"


def told(root: Path, **more: Any) -> Dict[str, Any]:
    """A plugin as a host describes it."""
    entrypoint = more.pop("entrypoint", None) or str(root)
    return {"name": root.name, "type": "core", "root": str(root), "entrypoint": entrypoint, "timeout_s": 30, **more}


def corpus(name: str, **more: Any) -> Dict[str, Any]:
    """A plugin of the corpus, from where it lies."""
    if not CORPUS.is_dir():
        pytest.skip(f"there is no corpus at {CORPUS}; AIGIS_CORPUS says where it is")
    return told(CORPUS / name, **more)


@pytest.fixture
def switch(tmp_path: Path) -> Iterator[Switch]:
    made = Switch(tmp_path)
    yield made
    made.close()


@pytest.fixture
def fx(switch: Switch) -> Process:
    """A core host that serves ``fx``, and this process as an operator's client."""
    core = switch.core()
    switch.load(core, told(PLUGINS / "fx"))
    return core


@pytest.fixture
def client(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The package, connected to the switch as the program ``olga``."""
    import aigis

    door = switch.door("olga", role="operator", ci="olga")
    monkeypatch.setenv("AIGIS_SOCKET", door.path)
    monkeypatch.setattr(session, "_current", None)
    current = session.connected()
    switch.cis["olga"] = door.connection()
    yield aigis
    current.bridge.close()
