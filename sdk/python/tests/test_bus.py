"""On a real mesh: these run where ``AIGIS_AISH`` names an ``aish`` that has joined one, and ``AIGIS_TEST_NODE`` a node of it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest

AISH = os.environ.get("AIGIS_AISH")
NODE = os.environ.get("AIGIS_TEST_NODE", "")

pytestmark = pytest.mark.skipif(not AISH, reason="AIGIS_AISH names no aish")


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, on the mesh of ``AIGIS_AISH``."""
    import aigis
    from aigis._proxy import session

    monkeypatch.delenv("AIGIS_SOCKET", raising=False)
    monkeypatch.setattr(session, "_current", None)
    yield aigis
    current = session._current
    if current is not None:
        current.bridge.close()


def test_plg_50_the_same_as_aish_call(mesh: Any) -> None:
    done = subprocess.run([str(AISH), "call", f"{NODE}.status", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == mesh[NODE].status().keys()


def test_unknown_names(mesh: Any) -> None:
    with pytest.raises(mesh.errors.NotFound):
        mesh.nobody_of_that_name.status()
    with pytest.raises(mesh.errors.NotFound):
        mesh[NODE].nothing_of_that_name()


def test_arguments_that_do_not_fit(mesh: Any) -> None:
    with pytest.raises(mesh.errors.InvalidArgument):
        mesh[NODE].status(colour="red")
