"""The bridge itself: frames, and peers that break its rules."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from typing import Any, List

import pytest

from aigis._bridge import frames
from aigis._bridge.frames import Reader, Violation, pack
from aigis._bridge.turns import Turns
from switch import PACKAGE, Process, Switch, until


def read(data: bytes, size: int = 7) -> List[Any]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)] + [b""]
    return list(Reader(lambda most: pieces.pop(0)).messages())


def test_messages_come_whole_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PART", 10)
    source = random.Random(3)
    sent = [({"t": "item", "id": number}, source.randbytes(source.randrange(40))) for number in range(1, 40)]
    data = b"".join(piece for header, body in sent for piece in pack(header, body))
    for size in (1, 7, 1000):
        assert [(frame.kind, frame.header["id"], frame.body) for frame in read(data, size)] == [
            ("item", header["id"], body) for header, body in sent
        ]


def test_parts_of_different_messages_may_be_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PART", 3)
    one, two = (
        list(pack({"t": "call", "id": 1, "path": "a"}, b"abcdefg")),
        list(pack({"t": "item", "id": 1}, b"uvwxyz")),
    )
    found = read(one[0] + two[0] + one[1] + two[1] + one[2])
    assert [(frame.kind, frame.body) for frame in found] == [("item", b"uvwxyz"), ("call", b"abcdefg")]
    assert found[1].header["path"] == "a"


def raw(header: Any, body: bytes = b"") -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">II", len(head), len(body)) + head + body


WRONG = [
    raw(b"[]"), raw(b"{"), raw({}), raw({"t": "dance"}), raw({"t": 1}), raw({"t": "item", "id": "x"}), raw({"t": "item", "id": 0}),
    raw({"t": "item", "id": 2**53}), struct.pack(">II", 70_000, 0), struct.pack(">II", 10, 2**26), raw(b"\xff"), raw(b"[" * 5000),
]  # fmt: skip


@pytest.mark.parametrize("data", WRONG, ids=range(len(WRONG)))
def test_what_is_no_frame_ends_the_connection(data: bytes) -> None:
    with pytest.raises(Violation):
        read(data)


def test_any_bytes_are_read_or_refused() -> None:
    source = random.Random(5)
    for _ in range(500):
        data = source.randbytes(source.randrange(60))
        try:
            read(bytes(data[:1] and b"\0") * 3 + data)
        except Violation:
            pass


@pytest.mark.parametrize(
    "bad",
    [raw({"t": "dance"}), raw({"t": "invoke"}), raw({"t": "credit", "id": 1, "n": 0}), raw({"t": "log"}), b"\xff" * 8],
)
def test_a_host_that_breaks_the_rules_ends_a_core_process(fx: Process, bad: bytes) -> None:
    fx.link.peer.sendall(bad)
    assert fx.child.wait(10) == 0


def test_a_thread_that_reads_is_relieved_of_a_long_call() -> None:
    done: List[str] = []
    relieved = threading.Event()
    steps = iter(["long", "short", "short", "end"])
    lock = threading.Lock()

    def step() -> bool:
        assert lock.acquire(blocking=False), "two threads read at once"
        word = next(steps)
        lock.release()
        if word == "long":
            # It ends only once another thread has read on.
            turns.run(lambda: done.append("long") if finished.wait(10) else None, relieved.set)
        elif word == "short":
            turns.run(lambda: done.append("short"), lambda: None)
        else:
            finished.set()
        return word != "end"

    finished = threading.Event()
    turns = Turns(step)
    turns.start()
    until(lambda: done == ["short", "short", "long"])
    assert relieved.is_set()


def test_answers_that_nobody_asked_for_are_ignored(fx: Process, client: Any, switch: Switch) -> None:
    door = next(door for door in switch.doors if door.name == "olga")
    link = until(lambda: door.connections)[0]
    for kind in ("reply", "item", "end", "error"):
        link.send({"t": kind, "id": 999_999}, b"null")
    link.send({"t": "cancel", "id": 999_999})
    link.send({"t": "credit", "id": 999_999, "n": 5})
    assert client.cool.nolog(1) == 2


def test_an_answer_that_cannot_be_read_is_internal(client: Any, switch: Switch) -> None:
    for body in ("{", '{"$foo":1}'):
        switch.standard["x", "y"] = None  # type: ignore[assignment]
        del switch.standard["x", "y"]
        switch.route = lambda source, frame, body=body: source.send(
            {"t": "reply", "id": frame.header["id"]}, body.encode()
        )  # type: ignore[method-assign]
        with pytest.raises(client.errors.Internal, match="cannot be read"):
            client.x.y()
    switch.route = lambda source, frame: source.send({"t": "error", "id": frame.header["id"], "code": "x"}, b"[]")  # type: ignore[method-assign]
    with pytest.raises(client.errors.Internal):
        client.x.y()
    switch.route = lambda source, frame: source.send({"t": "end", "id": frame.header["id"]})  # type: ignore[method-assign]
    with pytest.raises(client.errors.Internal):
        client.x.y()


@pytest.mark.parametrize(
    "body",
    [
        b"[1",
        b"[]",
        b'{"args":1}',
        b'{"kwargs":[]}',
        b'{"x":1}',
        b'{"args":[],"args":[]}',
        b'{"args":[{"$foo":1}]}',
        b"\xff",
    ],
)
def test_plg_49_bodies_that_are_none(fx: Process, body: bytes) -> None:
    answers: List[Any] = []
    number = next(fx.link.numbers)
    fx.link.pending[number] = answers.append
    fx.link.send({"t": "invoke", "id": number, "gen": 1, "path": "cool.produced"}, body)
    assert until(lambda: answers)[0].header["code"] == "invalid_argument"


def test_plg_49_an_empty_body_is_a_call_without_arguments(fx: Process) -> None:
    answers: List[Any] = []
    fx.link.pending[500] = answers.append
    fx.link.send({"t": "invoke", "id": 500, "gen": 1, "path": "cool.CONST"})
    assert until(lambda: answers)[0].body == b"42"


@pytest.mark.parametrize("answer", [{"t": "error", "code": "permission_denied"}, {"t": "hello"}])
def test_a_host_that_refuses(tmp_path: Any, answer: Any) -> None:
    path = str(tmp_path / "host.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    program = "import aigis\ntry: aigis.x()\nexcept aigis.errors.AigisError as e: print(e.code, e)"
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(PACKAGE), "AIGIS_SOCKET": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    peer, _ = listener.accept()
    body = {"code": "permission_denied", "message": "not you"} if answer["t"] == "error" else {"aigis": 2}
    peer.sendall(raw(answer, json.dumps(body).encode()))
    out, _ = child.communicate(timeout=20)
    assert out.strip() in (
        "permission_denied not you",
        "failed_precondition the host speaks another version of the bridge",
    )
    peer.close()
    listener.close()


@pytest.mark.parametrize("word", ["core", "run", "", "dance"])
def test_the_host_by_hand_prints_its_usage(word: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "AIGIS_SOCKET"} | {
        "PYTHONPATH": str(PACKAGE)
    }
    done = subprocess.run(
        [sys.executable, "-m", "aigis._host", *([word] if word else [])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2 and "usage: aigis-host" in done.stderr
