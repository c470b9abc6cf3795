"""Internal plugins: a process for the ``launch`` of each."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from conftest import PLUGINS, corpus, told
from switch import Process, Switch, until


def program(folder: Path, text: str, name: str = "main", **more: Any) -> Dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return told(folder, **{"type": "internal", "launch": name, **more})


def output(process: Process, code: int = 0) -> List[str]:
    out, errors = process.child.communicate(timeout=30)
    assert process.child.returncode == code, errors
    return out.splitlines()


def test_int1_of_the_corpus(switch: Switch) -> None:
    core = switch.core()
    switch.load(core, corpus("corea"))
    switch.load(core, corpus("int1"))
    root = corpus("int1")["root"]
    lines = output(switch.run(corpus("int1", type="internal", launch="main1")), 5)
    said = dict(line[5:].split(" -> ", 1) for line in lines if " -> " in line)
    failed = {line[5:].split(" EXC ")[0]: line.split(" EXC ")[1] for line in lines if " EXC " in line}
    assert f"INT1 cwd {root} argv []" in lines and any(line.startswith(f"INT1 path0 {root} ") for line in lines)
    assert said["CONST"] == "42 int" and said["withlog"] == said["withlog kw"] == "5 int" and said["nolog"] == "8 int"
    assert said["kwany"] == "['a'] list" and said["getod"] == "{'a': 1} dict" and said["getfn"] == "2 int"
    assert said["getk"] == "'hi 3' str" and said["K class remote"] == "'hi 5' str" and said["topfn"] == "18 int"
    assert said["reuse ns handle"] == "(2, 4) tuple" and said["from import"] == "2 int"
    assert said["int1 own core skill"] == f"'own-skill pid {core.child.pid}' str"
    assert said["DT"] == said["getdt"] == "datetime.datetime(2020, 1, 1, 0, 0) datetime"
    assert failed["boom"].endswith("ValueError boom!") and failed["raisee1"].endswith("E1 custom")
    assert "TypeError inner unexpected" in failed["typeerr"] and "InvalidArgument" in failed["const-with-args"]
    assert "NotFound" in failed["missing"] and "NotFound" in failed["AIGISReload unknown"]
    assert "ModuleNotFoundError" in failed["import dotted"]
    for name in ("private", "pm", "getattr setattr"):
        assert "AttributeError" in failed[name], name
    assert "INT1 exiting" in lines


def test_plg_36_internal_has_proxies_and_internal_local_copies(switch: Switch, tmp_path: Path) -> None:
    core = switch.core()
    _, ready = switch.load(core, told(PLUGINS / "fx"))
    text = (
        "import aigis, os\n"
        "def launch():\n"
        "    print(aigis.cool.pid() == os.getpid(), aigis.cool.pid())\n"
        "    print(aigis.value(aigis.cool.CONST), aigis.cool.withlog(4), aigis.cool.kw(a=1))\n"
        "    try: aigis.cool.mine()\n"
        "    except aigis.cool.Mine as e: print('caught', e.args)\n"
        "    try: aigis.nope.x()\n"
        "    except aigis.errors.NotFound: print('not found')\n"
    )
    lines = output(switch.run(program(tmp_path / "remote", text)))
    assert lines == [f"False {core.child.pid}", "42 5 ['a']", "caught ('mine!', 3)", "not found"]
    lines = output(switch.run(program(tmp_path / "local", text + "    print(aigis.cool.CONST == 42, aigis.cool)\n", type="internal-local"), [
        {**told(PLUGINS / "fx"), "leaves": [skill["path"] for skill in ready["skills"]]}
    ]))  # fmt: skip
    assert lines[0].startswith("True ") and lines[1:4] == ["42 5 ['a']", "caught ('mine!', 3)", "not found"]
    assert lines[4] == "True <path aigis.cool>"


def test_launch_gets_the_logger(switch: Switch, tmp_path: Path) -> None:
    for index, head in enumerate(
        [
            "def launch(log)",
            "def launch(x)",
            "def launch(*, logger=None)",
            "def launch(a=1, log=None)",
            "async def launch(logger)",
        ]
    ):
        word = head.split("(")[1].split(")")[0].replace("*, ", "").split(", ")[-1].split("=")[0]
        told_ = program(tmp_path / f"p{index}", f"{head}:\n    {word}.info('here {index}')\n")
        output(switch.run(told_))
        assert until(lambda index=index: [line for line in switch.lines() if line == f"here {index}"])


def test_launch_as_path_and_as_dotted_module(switch: Switch, tmp_path: Path) -> None:
    text = "import helper\ndef launch(): print(__name__, helper.V)\n"
    folder = tmp_path / "a"
    (folder / "deep").mkdir(parents=True)
    (folder / "helper.py").write_text("V = 1\n")
    (folder / "deep" / "it.py").write_text(text)
    path = told(folder, type="internal", launch=str(folder / "deep" / "it.py"))
    assert output(switch.run(path)) == ["it 1"]
    assert output(switch.run({**path, "launch": "deep.it"})) == ["deep.it 1"]


@pytest.mark.parametrize(
    ("launch", "words"),
    [("main", "no function launch"), ("other", "not to be found"), ("/nowhere/x.py", "no Python file")],
)
def test_what_cannot_be_launched(switch: Switch, tmp_path: Path, launch: str, words: str) -> None:
    process = switch.run(program(tmp_path / "a", "x = 1\n") | {"launch": launch})
    assert process.child.wait(10) == 78
    fatal = until(lambda: process.link.fatal)
    assert fatal["code"] == "failed_precondition" and words in fatal["message"] and not process.link.ready.is_set()


def test_ready_comes_as_launch_is_entered(switch: Switch, tmp_path: Path) -> None:
    process = switch.run(program(tmp_path / "a", "import time\ndef launch(): time.sleep(60)\n"))
    assert process.link.ready.wait(10) and process.child.poll() is None
    failing = switch.run(program(tmp_path / "b", "raise RuntimeError('at import')\n"))
    assert failing.child.wait(10) == 1 and not failing.link.ready.is_set()


def test_int4_of_the_corpus_ends_in_its_own_way(switch: Switch) -> None:
    process = switch.run(corpus("int4", type="internal", launch="m4"))
    assert process.link.ready.wait(10)
    time.sleep(0.2)  # It sets its handler right after.
    process.child.send_signal(signal.SIGTERM)
    assert output(process) == ["INT4 up", "INT4 got TERM"]


@pytest.mark.parametrize("stubborn", [False, True])
def test_plg_58_no_program_outlives_its_host(switch: Switch, tmp_path: Path, stubborn: bool) -> None:
    text = "import signal, time\ndef launch():\n"
    text += "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    process = switch.run(program(tmp_path / "a", text + "    print('on', flush=True)\n    time.sleep(60)\n"))
    assert process.child.stdout is not None and process.child.stdout.readline() == "on\n"
    process.link.peer.shutdown(2)
    assert process.child.wait(10) == (1 if stubborn else -signal.SIGTERM)


def test_children_of_a_program_reach_the_mesh_too(fx: Process, switch: Switch, tmp_path: Path) -> None:
    text = (
        "import aigis, multiprocessing, subprocess, sys\n"
        "def work(x): return aigis.cool.nolog(x)\n"
        "def launch():\n"
        "    assert aigis.cool.nolog(1) == 2\n"
        "    for way in ('fork', 'spawn'):\n"
        "        with multiprocessing.get_context(way).Pool(2) as pool: print(pool.map(work, [1, 2]))\n"
        "    subprocess.run([sys.executable, '-c', 'import aigis; print(aigis.cool.nolog(4))'], check=True)\n"
    )
    assert output(switch.run(program(tmp_path / "a", text))) == ["[2, 4]", "[2, 4]", "8"]


def test_callbacks_of_a_program(fx: Process, switch: Switch, tmp_path: Path) -> None:
    text = "import aigis\ndef launch(): print(aigis.cool.apply(lambda x: x + 1, 4))\n"
    assert output(switch.run(program(tmp_path / "a", text))) == ["5"]
