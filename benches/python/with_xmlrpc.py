"""XML-RPC of the standard library: a threaded server on localhost TCP, whose connections are kept open."""

import xmlrpc.client
import xmlrpc.server
from socketserver import ThreadingMixIn

import rounds
from function import nolog


class Handler(xmlrpc.server.SimpleXMLRPCRequestHandler):
    """Keeps a connection for the next call, and sends small answers at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True


class Server(ThreadingMixIn, xmlrpc.server.SimpleXMLRPCServer):
    """Answers each connection on a thread of its own."""

    daemon_threads = True
    request_queue_size = 128


def serve(say):
    """Answers until the process is ended."""
    server = Server(("127.0.0.1", 0), Handler, logRequests=False)
    server.register_function(nolog)
    say(f"http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever()


def forms(address):
    """How it is called: a connection for each thread."""
    return {"threads": (rounds.of_threads, lambda index: xmlrpc.client.ServerProxy(address).nolog)}
