"""A host for tests: joins real SDK processes by the real protocol, with the claims and deadlines that a node would keep.

It shares only the framing with the package, and knows no values: like a node it passes bytes on.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from aigis._bridge.frames import Frame, Reader, pack

PACKAGE = Path(__file__).resolve().parents[1]
ANSWERS = ("reply", "error", "item", "end")


class Refused(Exception):
    """An ``error`` that a process answered to its host."""

    def __init__(self, body: Dict[str, Any]) -> None:
        super().__init__(body["message"])
        self.body = body


class Connection:
    """The host's side of one connection."""

    def __init__(self, door: "Door", peer: socket.socket) -> None:
        self.door = door
        self.peer = peer
        self.hello: Dict[str, Any] = {}
        self.fatal: Optional[Dict[str, Any]] = None
        self.ready = threading.Event()
        self.closed = threading.Event()
        self.numbers = itertools.count(1)
        self.pending: Dict[int, Callable[[Frame], None]] = {}
        self.inward: Dict[int, Tuple["Connection", int]] = {}
        self.seen: List[Frame] = []
        # Who reads never waits for a write.
        self.out: "queue.SimpleQueue[bytes]" = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()
        threading.Thread(target=self.write, daemon=True).start()

    def send(self, header: Dict[str, Any], body: bytes = b"") -> None:
        self.out.put(b"".join(pack(header, body)))

    def write(self) -> None:
        try:
            while True:
                self.peer.sendall(self.out.get())
        except OSError:
            pass

    def read(self) -> None:
        try:
            for frame in Reader(self.peer.recv).messages():
                self.take(frame)
        except OSError:
            pass
        self.closed.set()
        lost = {"code": "unavailable", "message": "its process ended", "data": {"sent": True}}
        for number, then in list(self.pending.items()):
            then(Frame("error", {"id": number, "code": "unavailable"}, json.dumps(lost).encode()))

    def take(self, frame: Frame) -> None:
        number = frame.header.get("id")
        if frame.kind == "hello":
            self.hello = json.loads(frame.body)
            self.send({"t": "hello"}, json.dumps(self.door.welcome).encode())
            self.door.joined.put(self)
        elif frame.kind == "call":
            self.door.switch.route(self, frame)
        elif frame.kind == "cancel" and number in self.inward:
            there, other = self.inward[number]
            there.send({"t": "cancel", "id": other})
        elif frame.kind == "credit" and number in self.inward:
            there, other = self.inward[number]
            there.send({"t": "credit", "id": other, "n": frame.header["n"]})
        elif frame.kind == "log":
            self.door.switch.logs.append((self.door.name, frame.header, frame.body.decode()))
        elif frame.kind == "ready" and number is None:
            self.ready.set()
        elif frame.kind == "error" and number is None:
            self.fatal = json.loads(frame.body)
        elif frame.kind in ANSWERS or frame.kind == "ready":
            then = self.pending.get(number)
            if then is not None:
                then(frame)

    def control(self, do: str, body: Any = None, timeout: float = 20, **header: Any) -> Any:
        """Asks the process for something of its own, and waits."""
        number = next(self.numbers)
        answer: "queue.Queue[Frame]" = queue.Queue()
        self.pending[number] = answer.put
        data = b"" if body is None else json.dumps(body).encode()
        self.send({"t": "invoke", "id": number, "do": do, **header}, data)
        try:
            frame = answer.get(timeout=timeout)
        except queue.Empty:
            self.send({"t": "cancel", "id": number})
            frame = answer.get(timeout=5)
        del self.pending[number]
        if frame.kind == "error":
            raise Refused(json.loads(frame.body))
        return json.loads(frame.body)


class Door:
    """One socket, for one process and its children."""

    def __init__(self, switch: "Switch", name: str, role: str, welcome: Dict[str, Any]) -> None:
        self.switch = switch
        self.name = name
        self.role = role
        self.may = "write"
        self.welcome = {"aigis": 1, "mesh": "main", "node": "alpha", "user": name, **welcome}
        self.joined: "queue.Queue[Connection]" = queue.Queue()
        self.connections: List[Connection] = []
        self.path = str(switch.folder / f"{name}-{next(switch.counter)}.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(Connection(self, peer))

    def connection(self) -> Connection:
        return self.joined.get(timeout=15)


class Process:
    """A process of the SDK, and the host's connection to it."""

    def __init__(self, door: Door, child: "subprocess.Popen[str]", link: Connection) -> None:
        self.door = door
        self.child = child
        self.link = link


class Switch:
    """Joins processes: who loads what, who claims what, who is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counter = itertools.count(1)
        self.generations = itertools.count(1)
        # A call goes to one generation or the other: none to an old one after its claims have passed on.
        self.swapping = threading.RLock()
        self.claims: Dict[str, Tuple[Connection, int, Dict[str, Any]]] = {}
        self.cis: Dict[str, Connection] = {}
        self.standard: Dict[Tuple[str, str], Callable[..., Any]] = {}
        self.logs: List[Tuple[str, Dict[str, Any], str]] = []
        self.doors: List[Door] = []
        self.children: List["subprocess.Popen[str]"] = []

    def door(self, name: str, role: str = "plugin", **welcome: Any) -> Door:
        door = Door(self, name, role, welcome)
        self.doors.append(door)
        return door

    def start(self, mode: str, door: Door, python: str = sys.executable, **options: Any) -> Process:
        """Starts ``PYTHON -m aigis._host MODE`` behind ``door``."""
        environment = {**os.environ, "AIGIS_SOCKET": door.path, "PYTHONPATH": str(PACKAGE), "PYTHONUNBUFFERED": "1"}
        child = subprocess.Popen(
            [python, "-m", "aigis._host", mode],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        self.children.append(child)
        return Process(door, child, door.connection())

    def core(self, name: str = "core-alpha") -> Process:
        return self.start("core", self.door(name))

    def run(self, told: Dict[str, Any], core: Optional[List[Dict[str, Any]]] = None) -> Process:
        door = self.door(f"plugin-{told['name']}", ci=told["name"], plugin=told, core=core or [])
        process = self.start("run", door, cwd=told["entrypoint"])
        self.cis[told["name"]] = process.link
        return process

    def load(self, core: Process, told: Dict[str, Any], timeout: float = 20) -> Tuple[int, Dict[str, Any]]:
        """Loads a plugin and claims its leaves; its generation and what it offers."""
        gen = next(self.generations)
        ready = core.link.control("load", told, gen=gen, timeout=timeout)
        with self.swapping:
            for skill in ready["skills"]:
                self.claims[skill["path"]] = (core.link, gen, skill)
        self.cis[told["name"]] = core.link
        core.link.control("serve", gen=gen)
        return gen, ready

    def route(self, source: Connection, frame: Frame) -> None:
        with self.swapping:
            self.pass_on(source, frame)

    def pass_on(self, source: Connection, frame: Frame) -> None:
        path, ci = frame.header["path"], frame.header.get("ci")
        standard = self.standard.get((ci or "", path))
        if standard is not None:
            threading.Thread(target=self.answer, args=(source, frame, standard), daemon=True).start()
            return
        found: Any = None
        if path.startswith("_ref."):
            link = self.cis.get(ci or "")
            found = link and (link, None, {})
        elif ci is None:
            found = self.claims.get(path) or self.claims.get(path.rpartition(".")[0])
            if found and path not in self.claims and found[2]["kind"] != "open":
                found = None
        if not found:
            shown = f"{ci}.{path}" if ci else path
            self.refuse(source, frame, "not_found", f"there is no {shown}")
            return
        self.forward(source, frame, *found)

    def answer(self, source: Connection, frame: Frame, standard: Callable[..., Any]) -> None:
        result = json.dumps(standard(*json.loads(frame.body).get("args", []))).encode()
        source.send({"t": "reply", "id": frame.header["id"]}, result)

    def refuse(self, source: Connection, frame: Frame, code: str, message: str, **data: Any) -> None:
        body = json.dumps({"code": code, "message": message, "data": data}).encode()
        source.send({"t": "error", "id": frame.header["id"], "code": code}, body)

    def forward(self, source: Connection, frame: Frame, link: Connection, gen: Optional[int], skill: Any) -> None:
        mine, number = frame.header["id"], next(link.numbers)
        left = frame.header.get("timeout_ms") or skill.get("timeout_ms") or 30_000
        timer = threading.Timer(left / 1000, lambda: late())
        timer.daemon = True

        def over() -> None:
            timer.cancel()
            link.pending.pop(number, None)
            source.inward.pop(mine, None)

        def late() -> None:
            if number in link.pending:
                over()
                link.send({"t": "cancel", "id": number})
                self.refuse(source, frame, "deadline_exceeded", "the deadline has passed", sent=True)

        def then(answer: Frame) -> None:
            header = {**answer.header, "id": mine}
            if answer.kind == "item" or answer.header.get("stream"):
                timer.cancel() if answer.kind == "item" else None
            else:
                over()
            source.send(header, answer.body)

        link.pending[number] = then
        source.inward[mine] = (link, number)
        header = {"t": "invoke", "id": number, "path": frame.header["path"], "role": source.door.role}
        header.update(caller=source.door.name, may=source.door.may, timeout_ms=left, call=f"call-{number}")
        if gen is not None:
            header["gen"] = gen
        timer.start()
        link.send(header, frame.body)

    def lines(self, source: str = "log") -> List[str]:
        """The lines that came over the bridge."""
        return [line for _, header, line in list(self.logs) if header["source"] == source]

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()
        for door in self.doors:
            door.listener.close()
            for connection in door.connections:
                connection.peer.close()


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Waits until something holds; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, "it did not come to hold"
        time.sleep(0.01)
