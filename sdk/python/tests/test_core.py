"""A core host: loading, reloading and unloading plugins side by side."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any, List

import pytest

from conftest import PLUGINS, corpus, told
from switch import Process, Refused, Switch, until


def plugin(folder: Path, core: str, **files: str) -> Path:
    """A small plugin of its own."""
    (folder / "AIGIS").mkdir(parents=True)
    (folder / "AIGIS" / "AIGIS.core").write_text(core)
    for name, text in files.items():
        target = folder / name.replace("__", "/")
        target = target.with_name(target.name + ".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder


def refused(core: Process, root: Path, gen: int = 99, **more: Any) -> Any:
    with pytest.raises(Refused) as caught:
        core.link.control("load", told(root, **more), gen=gen)
    return caught.value.body


def test_corea_of_the_corpus(switch: Switch, client: Any) -> None:
    core = switch.core()
    _, ready = switch.load(core, corpus("corea"))
    kinds = {skill["path"]: skill["kind"] for skill in ready["skills"]}
    assert kinds["cool.CONST"] == "value" and kinds["cool.gen"] == "function" and kinds["K"] == "class"
    assert client.X() == 7 and client.topfn(9) == 18 and client.cool.withlog(4) == 5 and client.cool.kwany(a=1) == ["a"]
    assert client.cool.getod() == {"a": 1} and client.cool.getfn()(1) == 2 and client.K(5).hi() == "hi 5"
    assert list(client.cool.gen()) == [1] and client.cool.DT().year == 2020
    with pytest.raises(ValueError, match="boom!"):
        client.cool.boom()
    with pytest.raises(client.errors.RemoteError, match="custom"):
        client.cool.raisee1()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("coreb", "o has no nothere"),
        ("corec", "binds no zz"),
        ("cored", "does not bind SKILLS"),
        ("coree", "No such file"),
    ],
)
def test_plg_19_20_plugins_of_the_corpus_that_are_wrong(switch: Switch, client: Any, name: str, words: str) -> None:
    core = switch.core()
    switch.load(core, corpus("corea"))
    with pytest.raises(Refused, match=words) as caught:
        core.link.control("load", corpus(name), gen=7)
    assert caught.value.body["code"] == "invalid_argument" and caught.value.body["data"]["file"] == "AIGIS/AIGIS.core"
    with pytest.raises(client.errors.NotFound):
        client.o.getcwd()
    assert client.X() == 7


def test_plg_22_only_what_is_registered_is_reached(fx: Process, client: Any) -> None:
    frames: List[Any] = []
    for path, code in (
        ("cool.os.getpid", "not_found"),
        ("cool.nolog.__globals__", "permission_denied"),
        ("cool.__dict__", "permission_denied"),
    ):
        number = next(fx.link.numbers)
        fx.link.pending[number] = frames.append
        fx.link.send({"t": "invoke", "id": number, "gen": 1, "path": path})
        until(lambda: frames)
        assert frames.pop().header["code"] == code


def test_two_plugins_call_each_other_without_leaving_the_process(fx: Process, switch: Switch, client: Any) -> None:
    switch.load(fx, told(PLUGINS / "other"))
    routed = []
    switch.route = lambda source, frame, route=switch.route: (routed.append(frame), route(source, frame))  # type: ignore[method-assign]
    assert client.other.local() == [True, 42, 8, 5, True]
    assert client.other.catches() == ("mine!", 3)
    # The two calls of this program; nothing of what the plugin itself called.
    assert len(routed) == 2
    assert until(lambda: [entry for entry in switch.logs if "withlog" in entry[2]])[0][1]["gen"] == 1


def test_plg_52_reload_without_a_gap(switch: Switch, client: Any, tmp_path: Path) -> None:
    root = plugin(
        tmp_path / "a",
        "import aa as a\nSKILLS = ['a.f', 'a.slow']\n",
        aa="from bb import V\nimport time\ndef f(): return V\ndef slow(t):\n    time.sleep(t)\n    return V\n",
        bb="V = 1\n",
    )
    core = switch.core()
    switch.load(core, told(PLUGINS / "other"))
    old, _ = switch.load(core, told(root))
    assert client.other.count() == 1
    seen: List[Any] = []
    stop = threading.Event()

    def caller() -> None:
        while not stop.is_set():
            seen.append(client.a.f())

    thread = threading.Thread(target=caller)
    thread.start()
    until(lambda: len(seen) > 20)
    lasting = client.aio.a.slow  # keeps the old copy busy over the swap
    result: List[Any] = []
    slow = threading.Thread(target=lambda: result.append(client.a.slow(1)))
    slow.start()
    until(lambda: core.link.control("status")["plugins"]["a"]["running"] >= 1)
    (root / "bb.py").write_text("V = 2\n")
    new, _ = switch.load(core, told(root))
    core.link.control("unload", gen=old)
    until(lambda: seen[-1] == 2)
    stop.set()
    thread.join(10)
    slow.join(10)
    assert lasting is not None and new != old
    assert seen == sorted(seen) and set(seen) == {1, 2} and result == [1]
    assert client.other.count() == 2


def test_plg_53_a_reload_that_fails_leaves_the_old_one(switch: Switch, client: Any, tmp_path: Path) -> None:
    root = plugin(
        tmp_path / "a",
        "import aa as a\nSKILLS = ['a.f', 'a.late']\n",
        aa="def f(): return 1\ndef late():\n    import cc\n    return cc.V\n",
        cc="V = 3\n",
    )
    core = switch.core()
    switch.load(core, told(root))
    (root / "aa.py").write_text("def f(: return 2\n")
    body = refused(core, root)
    assert body["code"] == "invalid_argument" and "line 1" in body["message"] and "SyntaxError" in body["message"]
    assert body["data"]["exception"]["type"] == "SyntaxError"
    assert client.a.f() == 1 and client.a.late() == 3
    (root / "AIGIS" / "AIGIS.core").write_text("import aa as a\n\nSKILLS = [\n")
    assert refused(core, root)["data"]["line"] == 3
    assert client.a.f() == 1


def test_corpus_rl_is_loaded_anew(switch: Switch, client: Any) -> None:
    core = switch.core()
    old, _ = switch.load(core, corpus("rl"))
    before = client.when()
    assert client.t() == before
    switch.load(core, corpus("rl"))
    core.link.control("unload", gen=old)
    assert client.when() != before


def test_cleanup_runs_once_at_unload_and_at_the_end(switch: Switch) -> None:
    core = switch.core()
    first, _ = switch.load(core, told(PLUGINS / "fx"))
    core.link.control("unload", gen=first)
    assert switch.lines("stdout") == ["cleaned up"]
    switch.load(core, told(PLUGINS / "fx"))
    core.link.send({"t": "stop", "grace_ms": 1000})
    assert core.child.wait(10) == 0
    assert switch.lines("stdout") == ["cleaned up"] * 2


@pytest.mark.parametrize("way", ["term", "lost"])
def test_plg_58_the_end_of_a_core_host(switch: Switch, tmp_path: Path, way: str) -> None:
    mark = tmp_path / "ended"
    for name in ("a", "b"):
        plugin(
            tmp_path / name,
            f"import threading, time\ndef cleanup():\n    open({str(mark)!r}, 'a').write('{name}')\nthreading.Thread(target=time.sleep, args=(60,)).start()\nSKILLS = []\n",
        )
    core = switch.core()
    for name in ("a", "b"):
        switch.load(core, told(tmp_path / name))
    if way == "term":
        core.child.send_signal(signal.SIGTERM)
    else:
        core.link.peer.shutdown(2)
    assert core.child.wait(10) == 0
    assert mark.read_text() == "ba"


def test_plg_58_cleanups_that_hang_do_not_keep_the_process(switch: Switch, tmp_path: Path) -> None:
    core = switch.core()
    for name in ("a", "b", "c"):
        switch.load(core, told(plugin(tmp_path / name, "import time\ndef cleanup(): time.sleep(60)\nSKILLS = []\n")))
    core.link.peer.shutdown(2)
    assert core.child.wait(10) == 0


def test_cleanup_that_hangs_is_left_behind(switch: Switch, tmp_path: Path) -> None:
    root = plugin(tmp_path / "a", "import time\ndef cleanup(): time.sleep(60)\nSKILLS = []\n")
    core = switch.core()
    gen, _ = switch.load(core, told(root))
    start = time.monotonic()
    core.link.control("unload", gen=gen)
    assert 4 < time.monotonic() - start < 10


def test_plg_34_plugins_that_clash(switch: Switch, client: Any, tmp_path: Path) -> None:
    one = plugin(
        tmp_path / "one", "from src import thing as one\nSKILLS = ['one.f']\n", src__thing="def f(): return 1\n"
    )
    two = plugin(
        tmp_path / "two", "from src import thing as two\nSKILLS = ['two.f']\n", src__thing="def f(): return 2\n"
    )
    core = switch.core()
    switch.load(core, told(one))
    body = refused(core, two)
    assert body["code"] == "failed_precondition" and body["data"]["clash"] == {"module": "src", "plugin": "one"}
    switch.load(switch.core("core-two"), told(two))
    assert (client.one.f(), client.two.f()) == (1, 2)


def test_a_load_can_be_given_up(switch: Switch, client: Any, tmp_path: Path) -> None:
    root = plugin(tmp_path / "a", "import time\ntime.sleep(60)\nSKILLS = []\n")
    core = switch.core()
    switch.load(core, told(PLUGINS / "other"))
    start = time.monotonic()
    with pytest.raises(Refused) as caught:
        core.link.control("load", told(root), gen=50, timeout=0.5)
    assert caught.value.body["code"] == "cancelled" and time.monotonic() - start < 5
    assert client.other.count() == 1
    root = plugin(tmp_path / "b", "SKILLS = []\n")
    switch.load(core, told(root))


def test_what_ends_aigis_core_ends_nothing_else(switch: Switch, tmp_path: Path) -> None:
    core = switch.core()
    root = plugin(tmp_path / "a", "x = 1\n\nraise SystemExit(4)\n")
    body = refused(core, root)
    assert (
        "line 3" in body["message"] and body["data"]["exception"]["type"] == "SystemExit" and body["data"]["line"] == 3
    )
    assert any("SystemExit" in line for line in until(lambda: switch.lines()))
    root = plugin(tmp_path / "b", "import nothing_of_that_name\n")
    assert "No module named 'nothing_of_that_name'" in refused(core, root)["message"]


def test_what_plugins_print_goes_to_their_own_log(switch: Switch, client: Any, tmp_path: Path) -> None:
    core = switch.core()
    gens = {}
    for name in ("a", "b"):
        root = plugin(
            tmp_path / name,
            f"import sys\nclass {name}:\n    @staticmethod\n    def say(n):\n        for i in range(n):\n            print('{name}', i)\n            print('{name} err', i, file=sys.stderr)\nSKILLS = ['{name}.say']\n",
        )
        gens[name], _ = switch.load(core, told(root))
    threads = [threading.Thread(target=lambda name=name: getattr(client, name).say(50)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    for name, gen in gens.items():
        out = [line for _, header, line in switch.logs if header["gen"] == gen and header["source"] == "stdout"]
        assert out == [f"{name} {i}" for i in range(50)]
        errors = [line for _, header, line in switch.logs if header["gen"] == gen and header["source"] == "stderr"]
        assert errors == [f"{name} err {i}" for i in range(50)]


def test_plg_55_death_in_a_skill(switch: Switch, client: Any, tmp_path: Path) -> None:
    root = plugin(tmp_path / "a", "import os\ndef die(): os._exit(1)\nSKILLS = ['die']\n")
    core = switch.core()
    switch.load(core, told(root))
    with pytest.raises(client.errors.Unavailable) as caught:
        client.die()
    assert caught.value.data["sent"] is True and core.child.wait(5) == 1


def test_a_signal_handler_set_while_loading(switch: Switch, tmp_path: Path) -> None:
    root = plugin(tmp_path / "a", "import signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)\nSKILLS = []\n")
    core = switch.core()
    switch.load(core, told(root))
    os.kill(core.child.pid, signal.SIGUSR1)
    assert core.link.control("status")["plugins"]["a"]["running"] == 0


def test_open_instances_and_effects(switch: Switch, client: Any, tmp_path: Path) -> None:
    root = plugin(
        tmp_path / "a",
        "class G:\n    limit = 3\n    def __getattr__(self, name):\n        if name.startswith('make'):\n            return lambda: name\n        raise AttributeError(name)\ngenerate = G()\ndef f(): pass\nV = 1\nSKILLS = ['generate', 'f', 'V']\n",
    )
    core = switch.core()
    _, ready = switch.load(core, told(root, effects={"f": "admin", "generate": "read", "nothing": "read"}))
    assert {skill["path"]: (skill["kind"], skill["effect"]) for skill in ready["skills"]} == {
        "generate": ("open", "read"), "f": ("function", "admin"), "V": ("value", "read"),
    }  # fmt: skip
    assert "nothing" in ready["warnings"][0]
    assert client.generate.make_it() == "make_it" and client.generate.limit() == 3
    with pytest.raises(client.errors.NotFound):
        client.generate.other()


def test_generations_are_never_used_twice(fx: Process) -> None:
    assert refused(fx, PLUGINS / "other", gen=1)["code"] == "invalid_argument"
    with pytest.raises(Refused, match="no generation"):
        fx.link.control("serve", gen=77)
    with pytest.raises(Refused, match="does not know"):
        fx.link.control("dance")


def test_packages_of_a_plugin_come_after_the_hosts(switch: Switch, client: Any, tmp_path: Path) -> None:
    packages = tmp_path / "venv"
    packages.mkdir()
    (packages / "json.py").write_text("raise RuntimeError('hides the standard library')\n")
    (packages / "brought.py").write_text("V = 5\n")
    root = plugin(tmp_path / "a", "import json, brought, sys\nV = brought.V\nP = sys.path[-2:]\nSKILLS = ['V', 'P']\n")
    core = switch.core()
    switch.load(core, told(root, path=[str(packages)]))
    assert client.V() == 5 and client.P() == [str(packages), str(root)]
    shutil.rmtree(packages)
