"""Handles: what stays where it lives, is used from here, and goes when nobody holds it."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from typing import Any

import pytest

from aigis._host import table
from aigis._proxy import leases, session
from conftest import PLUGINS, told
from switch import PACKAGE, Process, Switch, until


def held(fx: Process) -> int:
    return sum(fx.link.control("status")["handles"].values())


def test_plg_42_uses(fx: Process, client: Any) -> None:
    k = client.cool.K(5)
    assert k.hi() == "hi 5" and k.v() == 5 and k(3) == 15
    assert len(k) == 5 and k["key"] == "key" and 5 in k and 6 not in k and list(k) == [0, 1, 2, 3, 4]
    assert str(k) == "K of 5" and bool(k) and "amod.K" in repr(k)
    with pytest.raises(KeyError):
        k["other"]
    with pytest.raises(AttributeError):
        k._x
    with pytest.raises(client.errors.NotFound):
        k.nothing()
    with pytest.raises(TypeError, match="call it"):
        bool(k.v)
    with pytest.raises(client.errors.InvalidArgument):
        k.hi(1)
    with pytest.raises(RuntimeError, match="a property that fails"):
        k.broken()
    assert k.ahi(1) == "ahi 6" and k.v.real() == 5
    k.release()
    with pytest.raises(client.errors.FailedPrecondition, match="handle expired"):
        k.hi()


def test_private_names_are_refused_by_the_owner_too(fx: Process, client: Any) -> None:
    k = client.cool.K(5)
    from aigis._proxy.calling import call

    for name in ("call._hidden", "call.__class__", "call.hi.__globals__"):
        with pytest.raises(client.errors.PermissionDenied):
            call(k._target(name), (), {})
    with pytest.raises(client.errors.InvalidArgument):
        call(k._target("eval"), (), {})


def test_static_methods_and_attributes_of_a_class(fx: Process, client: Any) -> None:
    assert client.cool.K.LIMIT() == 7
    assert client.cool.K.make(3).hi() == "hi 3"
    with pytest.raises(client.errors.NotFound):
        client.cool.K.hi()


def test_plg_42_so_many_and_no_more(fx: Process, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [client.cool.K(1) for _ in range(table.MAX_HELD)]
    with pytest.raises(client.errors.ResourceExhausted):
        client.cool.K(1)
    kept.pop().release()
    kept.append(client.cool.K(1))


def test_what_is_collected_is_released(fx: Process, client: Any) -> None:
    kept = [client.cool.K(number) for number in range(3)]
    assert held(fx) == 3
    del kept[1:]
    gc.collect()
    until(lambda: held(fx) == 1)
    assert kept[0].hi() == "hi 0"


def test_a_context_is_entered_and_left_over_there(fx: Process, client: Any) -> None:
    with client.cool.cm() as inside:
        assert inside == "inside"
    assert client.cool.left() == ["well"]
    with pytest.raises(ValueError, match="mine"):
        with client.cool.cm():
            raise ValueError("mine")
    assert client.cool.left()[1] == "ValueError('mine')"


def test_plg_43_what_nobody_holds_any_more_expires(fx: Process, switch: Switch, client: Any) -> None:
    # Its lease is 60 s; the owner is told of a shorter one, so that the test is over sooner.
    program = "import aigis, os\na = aigis.cool.K(1)\nb = aigis.cool.cm()\nb.__enter__()\nos.kill(os.getpid(), 9)\n"
    door = switch.door("plugin-gone", ci="gone")
    environment = {"AIGIS_SOCKET": door.path, "PYTHONPATH": str(PACKAGE)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, timeout=20).returncode == -9
    assert fx.link.control("status")["handles"] == {"plugin.plugin-gone": 2}


def test_plg_43_a_sweep_leaves_what_was_entered(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = session.connected().table
    left = []

    class Context:
        def __enter__(self) -> Any:
            return self

        def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
            left.append(str(error))
            return False

    ref = mine.export(Context())
    entry = mine.use(ref["id"], "operator.olga", "write")
    entry.entered = 1
    mine.sweep()
    assert mine.find(ref["id"]) is entry
    entry.holders.update(dict.fromkeys(entry.holders, 0.0))
    mine.sweep()
    assert mine.find(ref["id"]) is None
    until(lambda: left == ["handle expired"])
    mine.sweep()
    assert left == ["handle expired"]


def test_callables_given_as_arguments_call_back(fx: Process, client: Any) -> None:
    heard = []

    def listen(*args: Any) -> int:
        heard.append(args)
        return len(args)

    assert client.cool.apply(listen, 1, "two") == 2 and heard == [(1, "two")]
    assert client.cool.acallback(lambda x: x + 1, 4) == 5

    def fail() -> None:
        raise KeyError("from here")

    with pytest.raises(KeyError, match="from here"):
        client.cool.apply(fail)


def test_a_lent_object_lives_for_as_long_as_it_is_borrowed(fx: Process, client: Any) -> None:
    client.cool.kept(lambda: "still here")
    gc.collect()
    assert client.cool.kept() == "still here"


def test_an_object_that_comes_home_is_itself(fx: Process, client: Any) -> None:
    k = client.cool.K(5)
    assert client.cool.echo(k).hi() == "hi 5"
    assert client.cool.nolog.__call__  # a path is callable
    mine = object.__new__(type("Mine", (), {}))
    assert client.cool.echo(mine) is mine
    assert client.cool.apply(client.cool.K(2), 4) == 8


def test_a_handle_serves_a_third_process(fx: Process, client: Any, switch: Switch) -> None:
    other = switch.core("core-other")
    switch.load(other, told(PLUGINS / "other"))
    k = client.cool.K(5)
    assert client.other.use(k) == "hi 5"
    client.other.keep(k)
    del k
    gc.collect()
    until(lambda: fx.link.control("status")["handles"].get("operator.olga") is None)
    assert client.other.use_kept() == "hi 5"


def test_effects_hold_for_handles(fx: Process, client: Any, switch: Switch) -> None:
    k = client.cool.K(5)
    door = next(door for door in switch.doors if door.name == "olga")
    door.may = "read"
    with pytest.raises(client.errors.PermissionDenied):
        k.hi()
    door.may = "write"
    assert k.hi() == "hi 5"


def test_handles_to_await(fx: Process, client: Any) -> None:
    async def program() -> Any:
        k = await client.aio.cool.K(3)
        async with client.aio.cool.cm() as inside:
            pass
        items = [item async for item in k]
        said = await k.hi()
        await k.release()
        with pytest.raises(client.errors.FailedPrecondition):
            await k.hi()
        return inside, items, said

    assert asyncio.run(program()) == ("inside", [0, 1, 2], "hi 3")


def test_nobody_to_call_back(fx: Process, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.connected().table, "ci", None)
    with pytest.raises(client.errors.InvalidArgument, match=r"args\[0\].*nobody can call back"):
        client.cool.apply(lambda: 1)


def test_the_lease_is_renewed_in_time() -> None:
    assert leases.RENEW_S * 2 < leases.LEASE_S


def test_enum_members_and_records_come_as_what_they_stand_for(fx: Process, client: Any) -> None:
    shape = client.cool.shape()
    assert isinstance(shape, client.sdk.Member) and (shape.type, shape.name, shape.value) == ("amod.Shape", "FLAT", 2)
    point = client.cool.point()
    assert isinstance(point, client.sdk.Record) and (point.x, point.y) == (1, 2)
    assert client.cool.echo(shape) == shape and client.cool.echo(point) == point
    assert json.dumps(client.Shape.FLAT().value) == "2"
