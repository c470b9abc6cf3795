"""The package itself: ``aigis-host check``, its Python versions, what it requires."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from conftest import PLUGINS, corpus, told
from switch import PACKAGE, Switch


def check(description: Any) -> Tuple[int, Dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "aigis._host", "check"],
        env={"PYTHONPATH": str(PACKAGE)},
        input=json.dumps(description),
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, json.loads(done.stdout)


def test_plg_21_check_lists_the_leaves() -> None:
    code, found = check(told(PLUGINS / "fx"))
    assert code == 0 and found["warnings"] == []
    skills = {skill["path"]: skill for skill in found["skills"]}
    assert skills["cool.CONST"]["effect"] == "read" and skills["cool.nolog"]["effect"] == "write"
    assert skills["cool.nolog"]["doc"] == "Doubles." and skills["cool.nolog"]["input"]["required"] == ["x"]
    assert skills["cool.gen"]["stream"] and skills["cool.Mine"]["kind"] == "exception"
    assert not [path for path in skills if any(part.startswith("_") for part in path.split("."))]


@pytest.mark.parametrize("name", ["coreb", "corec", "cored", "coree"])
def test_check_says_what_is_wrong(name: str) -> None:
    code, found = check(corpus(name))
    assert (
        code == 65
        and found["error"]["code"] == "invalid_argument"
        and found["error"]["data"]["file"] == "AIGIS/AIGIS.core"
    )


def test_check_of_no_plugin() -> None:
    for bad in ({}, [], {"name": "x"}):
        code, found = check(bad)
        assert code == 65 and "description" in found["error"]["message"]


def test_check_lets_no_call_out(tmp_path: Path) -> None:
    (tmp_path / "AIGIS").mkdir()
    (tmp_path / "AIGIS" / "AIGIS.core").write_text("import aigis\nprint('noise')\naigis.other.f()\nSKILLS = []\n")
    code, found = check(told(tmp_path))
    assert code == 65 and "no host" in found["error"]["message"]


def test_plg_51_every_file_is_of_python_3_9() -> None:
    files = sorted((PACKAGE / "aigis").rglob("*.py"))
    assert len(files) > 30
    for file in files:
        ast.parse(file.read_text(), str(file), feature_version=(3, 9))


def pythons() -> List[str]:
    """Every Python from 3.9 on: on PATH, and as pyenv keeps them."""
    found = [shutil.which(f"python3.{minor}") for minor in range(9, 20)]
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [str(python) for python in sorted(kept.glob("3.*/bin/python")) if int(python.parts[-3].split(".")[1]) >= 9]
    return [python for python in found if python and ".pyenv/shims" not in python]


@pytest.mark.parametrize("python", pythons())
def test_plg_51_every_python_that_is_present(python: str, switch: Switch, client: Any) -> None:
    core = switch.start("core", switch.door("core-alpha"), python=python)
    switch.load(core, told(PLUGINS / "fx"))
    assert client.cool.nolog(2) == 4 and list(client.cool.gen(3)) == [0, 1, 2] and client.cool.K(5).hi() == "hi 5"
    assert (
        list(client.cool.agen(3)) == [0, 1, 2] and client.cool.aslow(0) == 0 and client.cool.echo({1: 2.5}) == {1: 2.5}
    )
    with pytest.raises(ValueError, match="boom"):
        client.cool.boom()
    program = (
        "import aigis, asyncio\n"
        "try: aigis.cool.mine()\n"
        "except aigis.cool.Mine as e: print(aigis.cool.nolog(2), list(aigis.cool.gen(3)), e.args)\n"
        "async def go(): return await aigis.aio.cool.nolog(4), [x async for x in aigis.aio.cool.gen(2)]\n"
        "print(asyncio.run(go()))\n"
    )
    environment = {"PYTHONPATH": str(PACKAGE), "AIGIS_SOCKET": switch.door("script").path}
    done = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "4 [0, 1, 2] ('mine!', 3)\n(8, [0, 1])\n", done.stderr


def test_nothing_is_required() -> None:
    assert "dependencies = []" in (PACKAGE / "pyproject.toml").read_text()
    assert (PACKAGE / "aigis" / "py.typed").exists()


def test_import_is_light() -> None:
    code = "import sys, aigis; print([name for name in ('asyncio', 'multiprocessing', 'http', 'ssl') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == "[]", done.stderr
