"""One round: so many callers call for so long, each as soon as its last call is answered.

Whoever calls by threads brings ``make(index)``, which gives each thread its function; whoever awaits brings one to await;
a pipeline begins calls on one thread and takes their answers in order.
"""

import asyncio
import threading
import time
from collections import deque
from statistics import median

from function import ARGUMENT, RESULT


def of_threads(make, callers, seconds):
    """Each caller is a thread; a single one is this thread."""
    taken, wrong = [], []
    together = threading.Barrier(callers)

    def run(index):
        try:
            taken.append(_call_on(make(index), together, seconds))
        except Exception as error:
            wrong.append(error)
            together.abort()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(1, callers)]
    for thread in threads:
        thread.start()
    run(0)
    for thread in threads:
        thread.join()
    if wrong:
        raise next((error for error in wrong if not isinstance(error, threading.BrokenBarrierError)), wrong[0])
    return _sum(taken)


def _call_on(call, together, seconds):
    _right(call(ARGUMENT))
    together.wait(60)
    took = []
    began = before = time.perf_counter()
    while before < began + seconds:
        _right(call(ARGUMENT))
        now = time.perf_counter()
        took.append(now - before)
        before = now
    return took, before - began


async def of_tasks(call, callers, seconds):
    """Each caller is a task of one loop."""
    _right(await call(ARGUMENT))

    async def run():
        took = []
        began = before = time.perf_counter()
        while before < began + seconds:
            _right(await call(ARGUMENT))
            now = time.perf_counter()
            took.append(now - before)
            before = now
        return took, before - began

    return _sum(await asyncio.gather(*(run() for _ in range(callers))))


def of_pipeline(begin, callers, seconds):
    """One thread has so many calls under way. ``begin(x)`` gives what gives the answer."""
    _right(begin(ARGUMENT)())
    took, open_calls = [], deque()
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        while len(open_calls) < callers:
            open_calls.append((time.perf_counter(), begin(ARGUMENT)))
        since, answer = open_calls.popleft()
        _right(answer())
        took.append(time.perf_counter() - since)
    whole = time.perf_counter() - began
    for _, answer in open_calls:
        answer()
    return _sum([(took, whole)])


def _right(result):
    if result != RESULT:
        raise ValueError(f"{result!r} came back, not {RESULT}")


def _sum(taken):
    times = [time for took, _ in taken for time in took]
    return {"rate": len(times) / max(whole for _, whole in taken), "p50_s": median(times)}
