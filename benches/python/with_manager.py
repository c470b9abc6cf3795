"""A manager of the standard library's multiprocessing, over a Unix socket."""

import os
import tempfile
from multiprocessing.managers import BaseManager

import rounds
from function import nolog

KEY = b"bench"


class Service:
    """Offers the function."""

    def nolog(self, x):
        return nolog(x)


class Manager(BaseManager):
    """Has one object of it."""


def serve(say):
    """Answers until the process is ended."""
    service = Service()
    Manager.register("service", callable=lambda: service)
    address = os.path.join(tempfile.mkdtemp(prefix="aigis-bench-"), "manager")
    server = Manager(address=address, authkey=KEY).get_server()
    say(address)
    server.serve_forever()


def forms(address):
    """How it is called: each thread has a connection of its own, as its proxies have."""
    Manager.register("service")
    manager = Manager(address=address, authkey=KEY)
    manager.connect()
    service = manager.service()
    return {"threads": (rounds.of_threads, lambda index: service.nolog)}
