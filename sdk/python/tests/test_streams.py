"""Streams: items in order, credit, and what happens when either side leaves."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from switch import Process, until


def test_items_in_order_and_more_than_the_credit(fx: Process, client: Any) -> None:
    assert list(client.cool.gen(200)) == list(range(200))
    assert list(client.cool.agen(100)) == list(range(100))
    assert list(client.cool.gen(0)) == []


def test_plg_44_leaving_the_loop_closes_the_generator(fx: Process, client: Any) -> None:
    start = []
    for item in client.cool.gen(10**6):
        start.append(item)
        if len(start) == 5:
            break
    assert start == [0, 1, 2, 3, 4]
    left = time.monotonic()
    until(lambda: client.cool.finished() == ["gen"])
    # Within 100 ms by design; a busy machine gets ten times that.
    assert time.monotonic() - left < 1
    assert len(client.cool.produced()) <= 40


def test_a_writer_is_never_far_ahead(fx: Process, client: Any) -> None:
    stream = client.cool.gen(1000)
    for taken in range(1, 101):
        next(stream)
        if taken % 20 == 0:
            assert len(client.cool.produced()) <= taken + 32
    stream.close()
    assert list(stream) == []


def test_an_error_comes_after_the_items_before_it(fx: Process, client: Any, monkeypatch: Any) -> None:
    stream = client.cool.gen("x")
    with pytest.raises(TypeError):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)


def test_streams_to_await(fx: Process, client: Any) -> None:
    async def program() -> Any:
        items = [item async for item in client.aio.cool.gen(50)]
        some = []
        async for item in client.aio.cool.agen(10**6):
            some.append(item)
            if item == 4:
                break
        stream = await client.aio.cool.gen(3)
        async with stream:
            first = await stream.__anext__()
        with pytest.raises(TypeError):
            async for _ in client.aio.cool.gen("x"):
                pass
        return items, some, first

    items, some, first = asyncio.run(program())
    assert items == list(range(50)) and some == [0, 1, 2, 3, 4] and first == 0
    until(lambda: "agen" in client.cool.finished())


def test_the_stream_of_a_reader_that_is_gone_ends(fx: Process, client: Any) -> None:
    stream = client.cool.gen(10**6)
    next(stream)
    del stream
    until(lambda: client.cool.finished() == ["gen"])
    until(lambda: fx.link.control("status")["plugins"]["fx"]["running"] == 0)


def test_a_budget_bounds_the_whole_of_a_stream(fx: Process, client: Any) -> None:
    stream = client.with_timeout(0.5).cool.gen(10**6)
    with pytest.raises(client.errors.DeadlineExceeded):
        for _ in stream:
            time.sleep(0.01)
    until(lambda: client.cool.finished() == ["gen"])
