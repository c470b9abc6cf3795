"""RPyC: a threaded server on localhost TCP; the function is looked up once and kept."""

import rounds
import rpyc
from function import nolog
from rpyc.utils.server import ThreadedServer


class Service(rpyc.Service):
    """Offers the function."""

    def exposed_nolog(self, x):
        return nolog(x)


def serve(say):
    """Answers until the process is ended."""
    server = ThreadedServer(Service, hostname="127.0.0.1", port=0)
    say(str(server.port))
    server.start()


def forms(port):
    """How it is called: a connection for each thread, or one with several calls under way."""
    kept = {}

    def connect(index):
        if index not in kept:
            kept[index] = rpyc.connect("127.0.0.1", int(port))
        return kept[index]

    def begin(x):
        result = pipelined(x)
        return lambda: result.value

    pipelined = rpyc.async_(connect("pipeline").root.nolog)
    return {
        "threads": (rounds.of_threads, lambda index: connect(index).root.nolog),
        "async results": (rounds.of_pipeline, begin),
    }
