"""The skills that are called."""

import time

import aigis


def nolog(x):
    """Doubles."""
    return 2 * x


def noted(x):
    """Doubles, with a line in the audit before and after."""
    return 2 * x


def inside(seconds):
    """Calls another plugin of the same core host for so long; how many calls that were in a second."""
    call, count = aigis.neighbour.nolog, 0
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        call(21)
        count += 1
    return count / (time.perf_counter() - began)
