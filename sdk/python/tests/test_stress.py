"""Everything at once: no answer is lost or mixed up, nothing waits for ever, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from typing import Any, Callable, Dict, List

from aigis._proxy.session import connected
from switch import Process, Switch, until


def operations(client: Any, source: random.Random) -> List[Callable[[], bool]]:
    def some_of_a_stream() -> bool:
        last = source.randrange(40)
        for item in client.cool.gen(10**6):
            if item == last:
                return True
        return False

    def too_late() -> bool:
        try:
            client.with_timeout(0.01).cool.slow(0.03)
        except TimeoutError:
            return True
        return False

    blob = os.urandom(source.randrange(300_000))
    return [
        lambda: client.cool.slow(0.02) == 0.02,
        lambda: list(client.cool.gen(70)) == list(range(70)),
        some_of_a_stream,
        too_late,
        lambda: client.cool.K(3).hi() == "hi 3",
        lambda: client.cool.apply(lambda x: x + 1, 4) == 5,
        lambda: client.cool.aslow(0.001) == 0.001,
        lambda: list(client.cool.agen(40)) == list(range(40)),
        lambda: client.cool.echo(blob) == blob,
        lambda: client.cool.nolog(21) == 42,
    ]


def test_everything_at_once(fx: Process, client: Any, switch: Switch) -> None:
    end = time.monotonic() + 5
    wrong: List[str] = []
    counts: Dict[int, int] = {}

    def work(seed: int) -> None:
        source = random.Random(seed)
        while time.monotonic() < end:
            try:
                if not source.choice(operations(client, source))():
                    wrong.append("a wrong answer")
                counts[seed] = counts.get(seed, 0) + 1
            except BaseException as error:
                wrong.append(repr(error)[:200])

    async def await_some(seed: int) -> None:
        source = random.Random(seed)
        while time.monotonic() < end:
            assert await client.aio.cool.nolog(2) == 4
            last = source.randrange(40)
            async for item in client.aio.cool.gen(1000):
                if item == last:
                    break

    async def awaiting() -> None:
        await asyncio.gather(*(await_some(seed) for seed in range(4)))

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(16)]
    for thread in threads:
        thread.start()
    asyncio.run(awaiting())
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads) and not wrong and len(counts) == 16
    until(lambda: fx.link.control("status")["plugins"]["fx"]["running"] == 0)
    until(lambda: fx.link.control("status")["handles"] == {}, 20)


def test_a_host_that_takes_nothing_keeps_no_process_from_reading(fx: Process) -> None:
    # More answers than the socket holds, and nobody who takes them: the process still takes what comes.
    gate = threading.Lock()
    taken: List[Any] = []

    def later(frame: Any) -> None:
        with gate:
            taken.append(frame)

    body = b'{"args":["' + b"x" * 100_000 + b'"]}'
    with gate:
        for number in range(1000, 1200):
            fx.link.pending[number] = later
            fx.link.send({"t": "invoke", "id": number, "gen": 1, "path": "cool.echo"}, body)
        until(lambda: fx.link.out.empty(), 30)
    until(lambda: len(taken) == 200, 30)
    assert all(frame.kind == "reply" for frame in taken)


def test_a_lone_caller_reads_for_itself_and_leaves_nobody_waiting(fx: Process, client: Any, switch: Switch) -> None:
    turns = connected().bridge.turns
    end = time.monotonic() + 4
    wrong: List[str] = []
    lent = 0
    read_for = turns.read_for

    def counted(frames: Any) -> None:
        nonlocal lent
        lent += turns._is_lent
        read_for(frames)

    turns.read_for = counted  # type: ignore[method-assign]

    def work(seed: int, pause: float) -> None:
        source = random.Random(seed)
        while time.monotonic() < end:
            try:
                for _ in range(source.randrange(1, 60)):
                    wrong.extend([] if client.cool.nolog(21) == 42 else ["a wrong answer"])
                if not source.choice(operations(client, source))():
                    wrong.append("a wrong answer")
            except BaseException as error:
                wrong.append(repr(error)[:200])
            time.sleep(source.random() * pause)

    # The second one comes and goes, so that the reading changes hands in every way.
    threads = [threading.Thread(target=work, args=(seed, pause), daemon=True) for seed, pause in ((1, 0.01), (2, 0.1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads) and not wrong
    assert lent > 20
    # What comes while nobody calls is read as well.
    assert client.cool.K(3).hi() == "hi 3"
    until(lambda: fx.link.control("status")["handles"] == {}, 20)


def test_a_callback_runs_beside_the_caller_that_reads(fx: Process, client: Any) -> None:
    ran: List[int] = []
    held = threading.Lock()
    found: List[Any] = []

    def call_back(x: int) -> int:
        ran.append(threading.get_ident())
        with held:
            return x + 1

    def work() -> None:
        for _ in range(50):
            client.cool.nolog(1)
        found.extend(client.cool.apply(call_back, x) for x in range(50))
        found.append(threading.get_ident())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert found[:-1] == list(range(1, 51)) and found[-1] not in ran


def test_a_burst_of_calls_is_refused_beyond_its_bound_and_costs_nothing_else(fx: Process, client: Any) -> None:
    async def burst() -> List[Any]:
        return await asyncio.gather(*(client.aio.cool.nolog(i) for i in range(1500)), return_exceptions=True)

    found = asyncio.run(burst())
    refused = [answer for answer in found if isinstance(answer, client.errors.ResourceExhausted)]
    answered = [answer for answer in found if isinstance(answer, int)]
    assert len(refused) >= 1500 - 1024 and len(answered) + len(refused) == 1500 and answered
    assert client.cool.nolog(2) == 4
