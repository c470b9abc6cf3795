"""A process that calls: it measures a round whenever it is told to."""

import asyncio
import json
import socket

import rounds


def serve(path, name, forms):
    """Takes orders at the socket ``path`` until that ends.

    ``forms`` are the ways in which this process can call: a name, the function of :mod:`rounds`, and what that takes.
    """
    loop = asyncio.new_event_loop()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        lines = peer.makefile("rw")
        _say(lines, name)
        for line in lines:
            order = json.loads(line)
            measure, what = forms[order["form"]]
            if measure is rounds.of_tasks:
                told = loop.run_until_complete(_awaited(what, order))
            else:
                told = measure(what, order["callers"], order["seconds"])
            _say(lines, told)


async def _awaited(make, order):
    return await rounds.of_tasks(await make(), order["callers"], order["seconds"])


def _say(lines, told):
    lines.write(json.dumps(told) + "\n")
    lines.flush()
