"""The skill that is called."""


def nolog(x):
    """Doubles."""
    return 2 * x
