"""Measures calls from Python beside other ways to call Python, in one run and in turns; see docs/benchmarks.md.

``measure.py [--quick] AISH NATS_SERVER``
"""

import contextlib
import sys
import tempfile
from statistics import median

import mesh
import processes
from table import Table

#: The others, the modules that they are in, and how each can be called by many.
OTHERS = {
    "RPyC": ("with_rpyc", "threads", ("threads", "async results")),
    "Pyro5": ("with_pyro", "threads", ("threads",)),
    "XML-RPC": ("with_xmlrpc", "threads", ("threads",)),
    "nats-py": ("with_nats", "tasks", ("tasks",)),
    "a manager of multiprocessing": ("with_manager", "threads", ("threads",)),
}
MANY = 64


def main():
    """Measures, and prints the table."""
    *options, aish, nats_server = sys.argv[1:]
    rounds, seconds = (3, 0.3) if options == ["--quick"] else (9, 0.7)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="aigis-bench-"))
        callers = processes.Callers(f"{directory}/callers")
        bus = stack.enter_context(processes.bus(nats_server))
        for module, *_ in OTHERS.values():
            more = (bus,) if module == "with_nats" else ()
            callers.start(stack, module, stack.enter_context(processes.server(module, *more)))
        stack.enter_context(mesh.two_nodes(aish, directory, callers))
        print(table_of(turns(callers, rounds, seconds)))


def turns(callers, rounds, seconds):
    """What each round showed, by who called in which form with how many callers; the first turn warms everything up."""
    measured = [("caller", form, 1) for form in ("threads", "noted threads", "far threads", "inside")]
    measured += [("caller", form, MANY) for form in ("threads", "tasks", "noted threads", "noted tasks", "far tasks")]
    measured += [("copied", "threads", 1), ("copied", "threads", MANY)]
    for module, single, forms in OTHERS.values():
        measured += [(module, single, 1), *((module, form, MANY) for form in forms)]
    shown = {what: [] for what in measured}
    for turn in range(rounds + 1):
        for what in measured:
            who, form, count = what
            told = callers.measure(who, form, count, seconds)
            if turn:
                shown[what].append(told)
        print(f"turn {turn} of {rounds}", file=sys.stderr, flush=True)
    return shown


def table_of(shown):
    """The rows, each beside what it is compared with."""
    table = Table()
    alone = shown["caller", "threads", 1]
    for name, (module, single, _) in OTHERS.items():
        table.row(f"call on one host, 1 caller, beside {name}", alone, shown[module, single, 1], 1.0)
    form, many = best(shown, "caller", ("threads", "tasks"))
    for name, (module, _, forms) in OTHERS.items():
        other, beside = best(shown, module, forms)
        table.row(f"call on one host, {MANY} callers ({form}), beside {name} ({other})", many, beside, 4.0)
    for count, goal in ((1, 1.0), (MANY, 4.0)):
        within = shown["copied", "threads", count]
        for name, (module, single, forms) in OTHERS.items():
            beside = shown[module, single, 1] if count == 1 else best(shown, module, forms)[1]
            who = "1 caller" if count == 1 else f"{count} callers (threads)"
            table.row(f"call of an internal-local plugin, {who}, beside {name}", within, beside, goal)
    plain = OTHERS["nats-py"][0]
    table.row("call to another node, 1 caller, beside nats-py", shown["caller", "far threads", 1], shown[plain, "tasks", 1], 2.0)
    far, beside = shown["caller", "far tasks", MANY], shown[plain, "tasks", MANY]
    table.row(f"call to another node, {MANY} callers (tasks), beside nats-py (tasks)", far, beside)
    table.row("audited call on one host, 1 caller", shown["caller", "noted threads", 1])
    form, noted = best(shown, "caller", ("noted threads", "noted tasks"))
    table.row(f"audited call on one host, {MANY} callers ({form.split()[-1]})", noted)
    table.row("call within one core host", shown["caller", "inside", 1])
    return table


def best(shown, who, forms):
    """The form in which many callers of that kind are fastest, and its rounds."""
    form = max(forms, key=lambda form: median(told["rate"] for told in shown[who, form, MANY]))
    return form, shown[who, form, MANY]


if __name__ == "__main__":
    main()
