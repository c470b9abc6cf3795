"""A plugin with one skill of each kind."""

import asyncio
import contextlib
import dataclasses
import enum
import os
import sys
import time

import aigis

CONST = 42
produced = []
finished = []
left = []


class Mine(Exception):
    """An exception of its own."""


class Sub(Mine):
    pass


class Shape(enum.Enum):
    ROUND = 1
    FLAT = 2


@dataclasses.dataclass
class Point:
    x: int
    y: int


class K:
    LIMIT = 7
    _hidden = 1

    def __init__(self, v):
        self.v = v

    @staticmethod
    def make(v):
        return K(v)

    @property
    def broken(self):
        raise RuntimeError("a property that fails")

    async def ahi(self, x):
        return f"ahi {self.v + x}"

    def hi(self):
        return f"hi {self.v}"

    def __len__(self):
        return self.v

    def __getitem__(self, key):
        return {"key": key}[key]

    def __contains__(self, value):
        return value == self.v

    def __iter__(self):
        return iter(range(self.v))

    def __str__(self):
        return f"K of {self.v}"

    def __call__(self, factor):
        return self.v * factor


def nolog(x):
    """Doubles."""
    return x * 2


def withlog(x, logger):
    logger.info("withlog has %s", x)
    return x + 1


def oldlog(x, log=None):
    log.boot("oldlog has %s", x)
    return log.tail()[-1]


def kw(**k):
    return sorted(k)


def boom():
    raise ValueError("boom!")


def mine():
    raise Mine("mine!", 3)


def sub():
    raise Sub("sub!")


def chained():
    try:
        boom()
    except ValueError as error:
        raise KeyError("outer") from error


def typeerr(file):
    with open(file, "a") as out:
        out.write("ran\n")
    raise TypeError("unexpected keyword argument 'logger'")


def gen(n):
    try:
        for i in range(n):
            produced.append(i)
            yield i
    finally:
        finished.append("gen")


async def agen(n):
    try:
        for i in range(n):
            await asyncio.sleep(0)
            yield i
    finally:
        finished.append("agen")


async def aslow(t):
    try:
        await asyncio.sleep(t)
    except asyncio.CancelledError:
        finished.append("aslow")
        raise
    return t


def slow(t):
    time.sleep(t)
    return t


def stubborn(t):
    end = time.monotonic() + t
    while time.monotonic() < end and not aigis.sdk.current_call().cancelled():
        time.sleep(0.01)
    finished.append("stubborn")


def hold(file):
    while not os.path.exists(file):
        time.sleep(0.01)


def echo(v):
    return v


def pid():
    return os.getpid()


@contextlib.contextmanager
def cm():
    try:
        yield "inside"
    except BaseException as error:
        left.append(repr(error))
        raise
    else:
        left.append("well")


def apply(f, *args):
    return f(*args)


async def acallback(f, x):
    return await f(x)


_kept = []


def kept(value=None):
    if value is not None:
        _kept.append(value)
        return len(_kept)
    return _kept[-1]()


def quit():
    sys.exit(3)


def typed(count: int, name: str = "x"):
    return name * count


def me():
    call = aigis.sdk.current_call()
    return [call.role, call.caller, call.remaining_s > 0, call.id]


def inner(t):
    return aigis.other.slow(t)


@aigis.skill(effect="read", timeout_s=600)
def watched():
    return "seen"


def raise_code():
    raise aigis.errors.FailedPrecondition("not now", hint="later", data={"why": [1, 2]})


def big(n):
    return b"x" * n


def unsendable():
    a = []
    a.append(a)
    return {"x": a}


def shape():
    return Shape.FLAT


def point():
    return Point(1, 2)
