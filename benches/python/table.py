"""What was measured, as a table in Markdown, in the form of the other benchmarks."""

from statistics import median

_HEAD = ("work", "here", "beside", "ratio", "from–to", "rounds", "goal", "")


class Table:
    """The rows so far."""

    def __init__(self):
        self._rows = [_HEAD]

    def row(self, work, here, beside=None, goal=None):
        """Adds a row: each round gives one ratio, and the middle one counts."""
        if beside is None:
            self._rows.append((work, _shown(here), "–", "–", "–", str(len(here)), "–", "–"))
            return
        ratios = [one["rate"] / other["rate"] for one, other in zip(here, beside)]
        ratio = median(ratios)
        words = ("–", "–") if goal is None else (f"≥ {goal:.2f}", "met" if ratio >= goal else "missed")
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        self._rows.append((work, _shown(here), _shown(beside), f"{ratio:.2f}", spread, str(len(ratios)), *words))

    def __str__(self):
        widths = [max(3, *map(len, column)) for column in zip(*self._rows)]
        lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in self._rows]
        lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
        return "\n".join(lines)


def _shown(rounds):
    time, rate = median(one["p50_s"] for one in rounds), median(one["rate"] for one in rounds)
    figure = f"{time * 1e6:.0f} µs" if time >= 1e-5 else f"{time * 1e6:.2f} µs"
    return f"{figure} · {rate / 1e3:.1f}k/s"
