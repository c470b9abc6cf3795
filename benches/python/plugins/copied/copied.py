"""A process of type `internal-local` that calls."""

import os
import sys


def launch():
    """Measures what it is told to, until that ends."""
    sys.path.append(os.environ["BENCH_FOLDER"])
    import calls

    calls.serve()
