"""nats-py: request and reply through a nats-server on localhost, with JSON; no names, permissions or deadlines beside."""

import asyncio
import json

import nats
import rounds
from function import nolog


def serve(say, url):
    """Answers until the process is ended."""

    async def answer(message):
        await message.respond(json.dumps(nolog(json.loads(message.data))).encode())

    async def run():
        connection = await nats.connect(url)
        await connection.subscribe("nolog", cb=answer)
        await connection.flush()
        say(url)
        await asyncio.Event().wait()

    asyncio.run(run())


def forms(url):
    """How it is called: tasks that share one connection."""
    connections = []

    async def make():
        if not connections:
            connections.append(await nats.connect(url))
        request = connections[0].request

        async def call(x):
            return json.loads((await request("nolog", json.dumps(x).encode(), timeout=30)).data)

        return call

    return {"tasks": (rounds.of_tasks, make)}
