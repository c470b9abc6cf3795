"""Calls plugins by ``aigis``, from a plugin's own process."""

import os

import agent
import aigis
import aigis.aio
import rounds


def serve():
    """Measures what it is told to, until that ends."""

    def threads(path):
        return rounds.of_threads, lambda index: path

    def tasks(path):
        async def make():
            return path

        return rounds.of_tasks, make

    def inside(_, callers, seconds):
        rate = aigis.callee.inside(seconds)
        return {"rate": rate, "p50_s": 1 / rate}

    forms = {
        "threads": threads(aigis.callee.nolog),
        "tasks": tasks(aigis.aio.callee.nolog),
        "noted threads": threads(aigis.callee.noted),
        "noted tasks": tasks(aigis.aio.callee.noted),
        "far threads": threads(aigis.far.nolog),
        "far tasks": tasks(aigis.aio.far.nolog),
        "inside": (inside, None),
    }
    agent.serve(os.environ["BENCH_SOCKET"], os.environ["AIGIS_PLUGIN"], forms)
