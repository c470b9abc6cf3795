"""Pyro5: its daemon on localhost TCP, which has a thread for each connection."""

import Pyro5.api
import rounds
from function import nolog


@Pyro5.api.expose
class Service:
    """Offers the function."""

    def nolog(self, x):
        return nolog(x)


def serve(say):
    """Answers until the process is ended."""
    daemon = Pyro5.api.Daemon(host="127.0.0.1")
    say(str(daemon.register(Service())))
    daemon.requestLoop()


def forms(address):
    """How it is called: a proxy for each thread, which is what Pyro asks for."""
    return {"threads": (rounds.of_threads, lambda index: Pyro5.api.Proxy(address).nolog)}
