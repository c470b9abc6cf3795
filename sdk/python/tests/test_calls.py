"""Calls by path: what comes back, what is refused, what is caught."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from switch import PACKAGE, Process, Switch, until


def test_plg_35_calls_and_values(fx: Process, client: Any) -> None:
    assert client.cool.nolog(2) == 4
    assert client.cool.nolog(x="a") == "aa"
    path = client.cool
    assert (path.nolog(1), path.nolog(2)) == (2, 4)
    assert client.cool.CONST() == 42
    with pytest.raises(TypeError, match="without arguments"):
        client.cool.CONST(1)
    from aigis import cool

    assert cool.nolog(3) == 6
    with pytest.raises(ModuleNotFoundError, match="from aigis import cool"):
        import aigis.cool  # noqa: F401
    with pytest.raises(client.errors.NotFound):
        client.nope.x()
    with pytest.raises(AttributeError):
        client.x = 1
    with pytest.raises(AttributeError):
        del client.x


def test_plg_37_one_source_for_all_types(fx: Process, client: Any) -> None:
    assert client.value(client.cool.CONST) == 42 and client.value(7) == 7


@pytest.mark.parametrize(
    "use",
    [bool, len, iter, str, lambda path: path == 42, lambda path: path < 1, lambda path: f"{path}", lambda path: 1 in path, lambda path: path + 1],
)  # fmt: skip
def test_a_path_is_no_value(client: Any, use: Any) -> None:
    with pytest.raises(TypeError, match="call it"):
        use(client.cool.CONST)
    with pytest.raises(client.errors.InvalidArgument, match="call it"):
        client.cool.nolog([client.cool.CONST])


def test_paths_are_values_of_their_own(client: Any) -> None:
    assert client.a.b == client.a.b and client.a.b != client.a.c and len({client.a, client.a, client["a"]}) == 2
    assert repr(client["web@beta"].status) == "<path aigis['web@beta'].status>"
    for private in ("_x", "__globals__", "__plugin_manager__"):
        with pytest.raises(AttributeError):
            getattr(client.cool, private)
        with pytest.raises(AttributeError):
            getattr(client, private)
    with pytest.raises(AttributeError):
        client.cool.x = 1


def test_plg_27_loggers(fx: Process, client: Any, switch: Switch) -> None:
    assert client.cool.withlog(4) == 5
    source, header, line = until(lambda: [entry for entry in switch.logs if "withlog" in entry[2]])[0]
    assert line == "withlog has 4" and header["level"] == "info" and header["call"].startswith("call-")
    assert client.cool.kw(a=1) == ["a"] and client.cool.kw(logger=1) == ["logger"]
    assert client.cool.oldlog(1) == "oldlog has 1"
    assert until(lambda: [entry for entry in switch.logs if "oldlog" in entry[2]])[0][1]["level"] == "boot"


def test_plg_26_a_body_is_never_run_twice(fx: Process, client: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'logger'"):
        client.cool.typeerr(str(tmp_path / "ran"))
    assert (tmp_path / "ran").read_text() == "ran\n"


@pytest.mark.parametrize(
    ("args", "kwargs", "named"),
    [
        ((), {}, "count"),
        (("a",), {}, "count"),
        ((1, 2), {}, "name"),
        ((1,), {"colour": 2}, "colour"),
        ((1, "a", "b"), {}, "too many"),
    ],
)
def test_arguments_that_do_not_fit_are_named(fx: Process, client: Any, args: Any, kwargs: Any, named: str) -> None:
    with pytest.raises(client.errors.InvalidArgument, match=named) as caught:
        client.cool.typed(*args, **kwargs)
    assert "exception" not in caught.value.data
    assert client.cool.typed(2) == "xx"


def test_plg_40_errors_are_caught_by_class(fx: Process, client: Any) -> None:
    with pytest.raises(ValueError) as caught:
        client.cool.boom()
    error: Any = caught.value
    assert (
        str(error) == "boom!"
        and error.args == ("boom!",)
        and "amod.py" in error.traceback
        and error.type == "ValueError"
    )
    assert "amod.py" in "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert isinstance(error, client.errors.RemoteError) and error.code == "internal"

    try:
        client.cool.mine()
    except ValueError:
        raise AssertionError("it is none")
    except client.cool.Mine as mine:
        assert mine.args == ("mine!", 3) and type(mine).__name__ == "Mine"
    try:
        client.cool.sub()
    except client.cool.Mine as sub:
        assert sub.exposed_as == ["cool.Sub", "cool.Mine"]
    try:
        client.cool.boom()
    except client.cool.Mine:
        raise AssertionError("it is none")
    except (KeyError, ValueError):
        pass


def test_plg_40_one_class_for_each_remote_class(fx: Process, client: Any) -> None:
    kinds = set()
    for _ in range(2):
        try:
            client.cool.mine()
        except client.errors.RemoteError as error:
            kinds.add(type(error))
            saved = error
    assert len(kinds) == 1
    assert isinstance(saved, client.cool.Mine) and not isinstance(saved, client.cool.Sub)


def test_paths_work_while_an_exception_is_handled(fx: Process, client: Any) -> None:
    try:
        client.cool.boom()
    except ValueError:
        path = client.cool
        assert path.nolog(2) == 4
        assert client["fx"].status is not None
        with pytest.raises(TypeError, match="call it"):
            bool(path.CONST)
        with pytest.raises(AttributeError):
            path._x
    assert path.nolog(3) == 6


def test_causes_and_codes(fx: Process, client: Any) -> None:
    with pytest.raises(KeyError) as caught:
        client.cool.chained()
    assert isinstance(caught.value.__cause__, ValueError) and str(caught.value.__cause__) == "boom!"
    with pytest.raises(client.errors.FailedPrecondition) as refused:
        client.cool.raise_code()
    assert (str(refused.value), refused.value.hint, refused.value.data) == ("not now", "later", {"why": [1, 2]})


def test_sys_exit_in_a_skill_ends_that_call_only(fx: Process, client: Any) -> None:
    with pytest.raises(client.errors.RemoteError) as caught:
        client.cool.quit()
    assert caught.value.type == "SystemExit" and type(caught.value).__mro__[1] is client.errors.RemoteError
    assert client.cool.nolog(1) == 2


def test_results_that_cannot_travel(fx: Process, client: Any) -> None:
    with pytest.raises(client.errors.Internal, match=r"cool\.unsendable.*result\.x\[0\].*holds itself"):
        client.cool.unsendable()
    with pytest.raises(client.errors.InvalidArgument, match=r"args\[0\]\[0\]\.x"):
        deep: Any = {"x": object()}
        deep["x"] = deep
        client.cool.echo([deep])
    assert client.cool.nolog(1) == 2


def test_large_bodies_go_in_parts(fx: Process, client: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        sizes = [0, 5_000_000, 30_000_000, 1]
        assert [len(found) for found in pool.map(client.cool.big, sizes)] == sizes
    blob = os.urandom(9_000_000)
    assert client.cool.echo(blob) == blob


def test_plg_47_one_slow_call_holds_no_other(fx: Process, client: Any) -> None:
    start = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(client.cool.slow, 1) for _ in range(8)]
        assert client.cool.nolog(1) == 2
        # Eight of a second each: side by side they take one, and in turn eight.
        assert [call.result() for call in slow] == [1] * 8
    assert time.monotonic() - start < 3


def test_plg_47_awaited_calls(fx: Process, client: Any) -> None:
    async def program() -> Any:
        start = time.monotonic()
        together = await asyncio.gather(*(client.aio.cool.slow(1) for _ in range(8)))
        assert time.monotonic() - start < 3
        task = asyncio.create_task(client.aio.cool.nolog(21))
        with pytest.raises(ValueError, match="boom"):
            await client.aio.cool.boom()
        with pytest.raises(client.errors.NotFound):
            await client.aio.nope()
        return together, await task, await client.aio.with_timeout(5).cool.aslow(0)

    assert asyncio.run(program()) == ([1] * 8, 42, 0)


def test_a_call_that_is_never_awaited_says_so(client: Any) -> None:
    with pytest.warns(RuntimeWarning, match=r"aigis\.cool\.f was never awaited"):
        client.aio.cool.f()


def test_a_call_that_waits_in_a_loop_works_and_warns_once(
    fx: Process, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aigis._proxy import calling

    monkeypatch.setattr(calling, "_warned", False)

    async def program() -> None:
        with pytest.warns(RuntimeWarning, match="aigis.aio"):
            assert client.cool.nolog(1) == 2
        assert client.cool.nolog(1) == 2

    asyncio.run(program())


def test_current_call(fx: Process, client: Any) -> None:
    role, caller, left, number = client.cool.me()
    assert (role, caller, left) == ("operator", "olga", True) and number.startswith("call-")
    assert client.sdk.current_call() is None


def test_a_forked_child_connects_anew(fx: Process, client: Any) -> None:
    assert client.cool.nolog(1) == 2
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if client.cool.nolog(2) == 4 else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.cool.nolog(3) == 6


def test_reload_by_name(fx: Process, client: Any, switch: Switch) -> None:
    switch.standard["fx-ci", "reload"] = lambda: True
    assert client.AIGISReload("fx") is True
    with pytest.raises(client.errors.NotFound):
        client.AIGISReload("nope")


def test_the_end_of_the_host_ends_its_calls(fx: Process, client: Any, switch: Switch) -> None:
    waiting = ThreadPoolExecutor(1).submit(client.cool.slow, 20)
    until(lambda: fx.link.pending)
    for door in switch.doors:
        for connection in door.connections:
            if door.name == "olga":
                connection.peer.shutdown(2)
    with pytest.raises(client.errors.Unavailable) as caught:
        waiting.result(10)
    assert caught.value.data["sent"] is True
    # A program's own connection is made anew by its next call.
    assert client.cool.nolog(1) == 2


def test_without_a_mesh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = "import aigis\ntry: aigis.web.status()\nexcept aigis.errors.Unavailable as e: print(e, '|', e.hint)"
    environment = {"PYTHONPATH": str(PACKAGE), "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=20)
    assert "aish is not on PATH" in done.stdout and "AIGIS_AISH" in done.stdout, done.stderr
    fake = tmp_path / "aish"
    fake.write_text("#!/bin/sh\necho 'no mesh here: aish up' >&2\nexit 69\n")
    fake.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=20)
    assert "no mesh here: aish up" in done.stdout, done.stderr


def test_calls_from_many_threads_get_their_own_answers(fx: Process, client: Any) -> None:
    wrong = []

    def work(index: int) -> None:
        for number in range(100):
            if client.cool.echo([index, number]) != [index, number]:
                wrong.append((index, number))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong and not any(thread.is_alive() for thread in threads)
