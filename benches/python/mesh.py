"""Two nodes on this machine, joined by one bus, each with plugins to call; the callers are plugins of the first."""

import contextlib
import json
import os
import subprocess
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
#: How long a plugin may take until it serves, in seconds.
PATIENCE_S = 60


@contextlib.contextmanager
def two_nodes(aish, directory, callers):
    """Starts them, and awaits the callers."""
    alpha, beta = Node(aish, directory, "alpha"), Node(aish, directory, "beta")
    told = f'env = {{ BENCH_FOLDER = "{FOLDER}", BENCH_SOCKET = "{callers.path}" }}'
    entries = f"[core]\n{alpha.line('neighbour')}{alpha.line('callee')}"
    for table, plugin in (("internal-local", "copied"), ("internal", "caller")):
        entries += f'[{table}]\n{plugin} = {{ source = "{FOLDER}/plugins/{plugin}", {told} }}\n'
    try:
        alpha.configure("[core]\n")
        alpha.aish("up", "--detach", "--name", "alpha")
        token = json.loads(alpha.aish("tokens", "create", "--role", "node", "--json"))["token"]
        beta.configure(f"[core]\n{beta.line('far')}")
        beta.aish("join", token, "--name", "beta")
        alpha.await_running("far")
        alpha.configure(entries)
        alpha.aish("plugins", "sync")
        callers.await_one()
        callers.await_one()
        yield
    finally:
        beta.down()
        alpha.down()


class Node:
    """A node with a directory of its own."""

    def __init__(self, aish, directory, name):
        self._aish, self._name = aish, name
        self._data = os.path.join(directory, name)
        os.mkdir(self._data, 0o700)
        self._config = os.path.join(self._data, "config.aigis")
        self._environment = {**os.environ, "AIGIS_DATA": self._data, "AIGIS_CONFIG_DIR": self._data}

    def line(self, plugin):
        """A line of the config file."""
        return f'{plugin} = "{FOLDER}/plugins/{plugin}"\n'

    def configure(self, text):
        """Writes the config file."""
        with open(self._config, "w") as file:
            file.write(text)

    def await_running(self, plugin):
        """Waits until a plugin of the mesh serves."""
        until = time.monotonic() + PATIENCE_S
        while _state(self.aish("plugins", "list", "--json"), plugin) != "running":
            if time.monotonic() > until:
                raise TimeoutError(f"{plugin} does not run after {PATIENCE_S} s")
            time.sleep(0.2)

    def down(self):
        """Ends it."""
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.aish("down")

    def aish(self, *words):
        """Runs a command there, and gives what it prints."""
        ran = subprocess.run((self._aish, *words), env=self._environment, capture_output=True, text=True, timeout=180)
        if ran.returncode:
            raise RuntimeError(f"aish {' '.join(words[:2])} on {self._name}: {ran.stdout}{ran.stderr}")
        return ran.stdout


def _state(listed, plugin):
    return next((row["state"] for row in json.loads(listed) if row["name"] == plugin), None)
