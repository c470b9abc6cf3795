"""Deadlines, and calls that nobody waits for any more."""

from __future__ import annotations

import asyncio
import queue
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import PLUGINS, told
from switch import PACKAGE, Process, Switch, until


def state(fx: Process) -> Any:
    return fx.link.control("status")["plugins"]["fx"]


def test_plg_46_a_budget_of_the_caller(fx: Process, client: Any) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        client.with_timeout(0.3).cool.slow(3)
    assert isinstance(caught.value, client.errors.DeadlineExceeded) and caught.value.data["sent"] is True
    assert time.monotonic() - start < 2
    assert until(lambda: state(fx)["abandoned"]) == 1
    until(lambda: state(fx)["abandoned"] == 0)
    for bad in (0, -1, 86_401, float("nan")):
        with pytest.raises(ValueError):
            client.with_timeout(bad)


def test_plg_46_what_a_skill_calls_inherits_its_budget(fx: Process, client: Any, switch: Switch) -> None:
    other = switch.core("core-other")
    switch.load(other, told(PLUGINS / "other"))
    start = time.monotonic()
    with pytest.raises(client.errors.DeadlineExceeded):
        client.with_timeout(0.5).cool.inner(10)
    assert time.monotonic() - start < 2
    # The inner call is given up over there as well: its thread is abandoned, the outer one is free.
    assert until(lambda: other.link.control("status")["plugins"]["other"]["abandoned"]) == 1
    until(lambda: state(fx)["running"] == 0)


def test_plg_46_a_skills_own_deadline(switch: Switch, client: Any) -> None:
    core = switch.core()
    _, ready = switch.load(core, told(PLUGINS / "fx", timeout_s=1))
    skills = {skill["path"]: skill for skill in ready["skills"]}
    assert skills["cool.slow"]["timeout_ms"] == 1000 and skills["cool.watched"]["timeout_ms"] == 600_000
    with pytest.raises(client.errors.DeadlineExceeded):
        client.cool.slow(3)


def test_cancel_reaches_every_kind_of_skill(fx: Process, client: Any) -> None:
    async def program() -> None:
        for call in (client.aio.cool.aslow(30), client.aio.cool.stubborn(30)):
            task = asyncio.create_task(call)
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(program())
    start = time.monotonic()
    until(lambda: sorted(client.cool.finished()) == ["aslow", "stubborn"])
    assert time.monotonic() - start < 1
    until(lambda: state(fx)["running"] == 0)


def test_ctrl_c_cancels_over_there(fx: Process, client: Any, switch: Switch) -> None:
    program = "import aigis\nprint('on', flush=True)\naigis.cool.stubborn(30)\n"
    door = switch.door("plugin-script", ci="script")
    environment = {"AIGIS_SOCKET": door.path, "PYTHONPATH": str(PACKAGE)}
    script = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: state(fx)["running"] == 1)
    script.send_signal(signal.SIGINT)
    _, errors = script.communicate(timeout=10)
    assert "KeyboardInterrupt" in errors
    until(lambda: client.cool.finished() == ["stubborn"])


def test_queue_and_its_bound(switch: Switch, client: Any, tmp_path: Path) -> None:
    core = switch.core()
    switch.load(core, told(PLUGINS / "fx", concurrency=1))
    with ThreadPoolExecutor(300) as pool:
        first = pool.submit(client.cool.hold, str(tmp_path / "go"))
        until(lambda: core.link.control("status")["plugins"]["fx"]["running"] == 1)
        rest = [pool.submit(client.cool.nolog, 1) for _ in range(280)]
        until(lambda: sum(call.done() for call in rest) == 280 - 256, 30)
        (tmp_path / "go").touch()
        refused = 0
        for call in rest:
            try:
                assert call.result(20) == 2
            except client.errors.ResourceExhausted:
                refused += 1
        assert first.result() is None and refused == 280 - 256


def test_a_call_that_waited_too_long_is_not_run(switch: Switch, client: Any) -> None:
    core = switch.core()
    switch.load(core, told(PLUGINS / "fx", concurrency=1))
    with ThreadPoolExecutor(2) as pool:
        pool.submit(client.cool.slow, 1)
        until(lambda: core.link.control("status")["plugins"]["fx"]["running"] == 1)
        with pytest.raises(client.errors.DeadlineExceeded):
            client.with_timeout(0.2).cool.gen(3)
    assert client.cool.produced() == []


def test_threads_that_never_come_back_are_told(switch: Switch, client: Any) -> None:
    core = switch.core()
    switch.load(core, told(PLUGINS / "fx", concurrency=1))
    with pytest.raises(client.errors.DeadlineExceeded):
        client.with_timeout(0.2).cool.slow(3)
    assert until(lambda: core.link.control("status")["plugins"]["fx"]["exhausted_s"]) > 0


def test_hostile_budgets(fx: Process) -> None:
    for left in (-1, "soon", 2**64, None, 1.5, True):
        frames: "queue.Queue[Any]" = queue.Queue()
        number = next(fx.link.numbers)
        fx.link.pending[number] = frames.put
        fx.link.send(
            {"t": "invoke", "id": number, "gen": 1, "path": "cool.nolog", "timeout_ms": left},
            b'{"args":[2],"meta":{"timeout_ms":-5,"hops":"x","traceparent":7}}',
        )
        frame = frames.get(timeout=10)
        assert frame.kind in ("reply", "error") and (frame.kind == "error" or frame.body == b"4")
