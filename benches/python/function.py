"""What everybody offers, and calls."""

#: What it is called with here, and what has to come back.
ARGUMENT, RESULT = 21, 42


def nolog(x):
    """Doubles."""
    return 2 * x
