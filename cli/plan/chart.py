"""A chart of one value over time, in text."""

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
ROWS, COLUMNS = 6, 72


def chart(title: str, points: Sequence[tuple[float, float]]) -> list[str]:
    """Return the lines of a chart: the highest value of each span of time, as bars. `points` are seconds and values."""
    end = points[-1][0] or 1.0
    highest = [0.0] * COLUMNS
    for seconds, value in points:
        column = min(COLUMNS - 1, int(seconds / end * COLUMNS))
        highest[column] = max(highest[column], value)
    top = max(highest) or 1.0
    parts = [round(value / top * ROWS * (len(BLOCKS) - 1)) for value in highest]
    labels = [f"{top:,.0f}", *[""] * (ROWS - 2), "0"]
    margin = max(map(len, labels))
    steps = len(BLOCKS) - 1
    rows = [
        "".join(BLOCKS[max(0, min(steps, part - steps * (ROWS - 1 - row)))] for part in parts) for row in range(ROWS)
    ]
    return [
        title,
        *(f"{label:>{margin}} ┤{row.rstrip()}" for label, row in zip(labels, rows, strict=True)),
        f"{'':>{margin}} └{'─' * COLUMNS}",
        f"{'':>{margin}}  0{f'{end:,.0f} s':>{COLUMNS - 1}}",
    ]
