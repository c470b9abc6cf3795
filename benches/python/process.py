"""One process of a measurement: ``process.py serve|call MODULE …``."""

import importlib
import sys

import agent


def main():
    """Does as the arguments say."""
    what, module, *rest = sys.argv[1:]
    contender = importlib.import_module(module)
    if what == "serve":
        contender.serve(lambda address: print(address, flush=True), *rest)
    else:
        path, address = rest
        agent.serve(path, module, contender.forms(address))


if __name__ == "__main__":
    main()
