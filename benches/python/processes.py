"""The processes of a measurement, and how they are told what to measure."""

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
#: How long a process may take until it says that it is there, in seconds.
PATIENCE_S = 120


@contextlib.contextmanager
def started(*command, **options):
    """A process that is ended with this."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def server(module, *more):
    """A process that answers, and its address."""
    command = (sys.executable, f"{FOLDER}/process.py", "serve", module, *more)
    with started(*command, stdout=subprocess.PIPE, bufsize=0) as process:
        yield _line(process.stdout, module)


@contextlib.contextmanager
def bus(program):
    """A nats-server of its own, and its URL."""
    command = (program, "--addr", "127.0.0.1", "--port", "-1")
    with started(*command, stderr=subprocess.PIPE, bufsize=0) as process:
        while True:
            found = re.search(r"Listening for client connections on (\S+)", _line(process.stderr, program))
            if found:
                yield f"nats://{found[1]}"
                return


def _line(pipe, who):
    # The pipe has no buffer, so that whatever has come is seen here.
    if not select.select([pipe], [], [], PATIENCE_S)[0]:
        raise TimeoutError(f"{who} said nothing within {PATIENCE_S} s")
    line = pipe.readline().decode().strip()
    if not line:
        raise RuntimeError(f"{who} has ended")
    return line


class Callers:
    """The processes that call, by name; each connects when it is ready."""

    def __init__(self, path):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)
        self._lines = {}
        self.path = path

    def start(self, stack, module, address):
        """Starts a caller of those that are not plugins."""
        stack.enter_context(started(sys.executable, f"{FOLDER}/process.py", "call", module, self.path, address))
        self.await_one()

    def await_one(self):
        """Waits for the next one to connect."""
        peer, _ = self._listener.accept()
        peer.settimeout(PATIENCE_S)
        lines = peer.makefile("rw")
        self._lines[json.loads(lines.readline())] = lines

    def measure(self, who, form, callers, seconds):
        """One round: how many calls a second, and the median time of one in seconds."""
        lines = self._lines[who]
        lines.write(json.dumps({"form": form, "callers": callers, "seconds": seconds}) + "\n")
        lines.flush()
        answer = lines.readline()
        if not answer:
            raise RuntimeError(f"the caller {who} has ended in {form}")
        return json.loads(answer)
