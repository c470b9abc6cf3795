"""Whole numbers of many digits.

The interpreter refuses texts of over 4,300 (they cost it quadratic time); ours go to 10,000, in pieces, without
touching the setting, which belongs to the program.
"""

from __future__ import annotations

#: The most digits that travel.
MAX_DIGITS = 10_000
_PIECE = 4_000
_LIMIT = 10**MAX_DIGITS


def write(number: int) -> str:
    """The decimal digits of a number.

    Raises ``ValueError`` beyond :data:`MAX_DIGITS`.
    """
    if not -_LIMIT < number < _LIMIT:
        raise ValueError(f"an int of more than {MAX_DIGITS} digits")
    rest, pieces = abs(number), []
    while rest >= 10**_PIECE:
        rest, piece = divmod(rest, 10**_PIECE)
        pieces.append(str(piece).rjust(_PIECE, "0"))
    pieces.append(str(rest))
    return ("-" if number < 0 else "") + "".join(reversed(pieces))


def read(text: str) -> int:
    """The number of those digits."""
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
        raise ValueError(text)
    number = 0
    for at in range(0, len(digits), _PIECE):
        piece = digits[at : at + _PIECE]
        number = number * 10 ** len(piece) + int(piece)
    return -number if text[:1] == "-" else number
