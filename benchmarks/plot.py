"""Line and bar charts as SVG, small and readable in both colour schemes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 760, 300
BAR, NAMES, VALUES = 22, 250, 60
"""The height of a row of bars, and the room for names before and for values behind them."""
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 34, 44
COLOURS = ("#2563eb", "#d97706", "#059669")
MINOR = "#8b8b8b"
# The labels of shaded spans stand in rows between the title and the lines.
LABEL_HEIGHT, LETTER_WIDTH = 13, 5.6

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """Lines over a common x axis. `shaded` are spans of x with a label; logarithmic axes need values above 0."""

    title: str
    x_label: str
    lines: Mapping[str, Points]
    shaded: Sequence[tuple[float, float, str]] = ()
    logarithmic: bool = False
    ticks: Sequence[float] = field(default_factory=tuple)
    """Values of x that are labelled."""

    def svg(self) -> str:
        """Return the chart as an SVG document."""
        points = [point for line in self.lines.values() for point in line]
        x, x_ticks = self._axis([value for value, _ in points], LEFT, WIDTH - RIGHT, self.ticks)
        rows = self._rows(x)
        top = TOP + LABEL_HEIGHT * (max(rows, default=-1) + 1)
        y, y_ticks = self._axis([value for _, value in points], HEIGHT - BOTTOM, top, ())
        body = [
            *(
                _shade(x(begin), x(end), row, number % 2, label)
                for number, ((begin, end, label), row) in enumerate(zip(self.shaded, rows, strict=True))
            ),
            *(_text(LEFT - 6, y(tick) + 4, _number(tick), "end") + _rule(y(tick)) for tick in y_ticks),
            *(_text(x(tick), HEIGHT - BOTTOM + 18, _number(tick), "middle") for tick in x_ticks),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, self.x_label, "middle"),
            _text(LEFT, 18, self.title, "start", "bold"),
        ]
        for number, (name, line) in enumerate(self.lines.items()):
            path = " ".join(f"{x(one):.1f},{y(other):.1f}" for one, other in line)
            body.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>')
            body.append(_text(WIDTH - RIGHT - 170 * number, 18, name, "end", "bold", COLOURS[number]))
        return _document(self.title, HEIGHT, body)

    def _axis(
        self, values: Sequence[float], begin: float, end: float, ticks: Sequence[float]
    ) -> tuple[Callable[[float], float], Sequence[float]]:
        """Return the place of a value on an axis, and the axis's ticks."""
        if self.logarithmic:
            low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
            return (
                lambda value: begin + (math.log10(value) - low) / (high - low) * (end - begin),
                ticks or [10.0**power for power in range(low, high + 1)],
            )
        step = _step(max(values))
        top = max(step, math.ceil(max(values) / step) * step)
        return (
            lambda value: begin + value / top * (end - begin),
            ticks or [step * number for number in range(round(top / step) + 1)],
        )

    def _rows(self, x: Callable[[float], float]) -> list[int]:
        """Return the row of each span's label: the first one where it does not meet the labels before it."""
        ends: list[float] = []
        rows = []
        for begin, _, label in self.shaded:
            row = next((row for row, end in enumerate(ends) if end <= x(begin)), len(ends))
            ends[row : row + 1] = [x(begin) + LETTER_WIDTH * (len(label) + 1)]
            rows.append(row)
        return rows


@dataclass(frozen=True)
class Bars:
    """A horizontal bar per row, of parts that add up. `rows` has a value per part; `form` shows a row's sum."""

    title: str
    parts: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    form: str = "{:,.0f}"

    def svg(self) -> str:
        """Return the chart as an SVG document."""
        height = TOP + BAR * len(self.rows) + 10
        longest = max(sum(values) for values in self.rows.values())
        scale = (WIDTH - NAMES - VALUES) / longest
        body = [_text(8, 18, self.title, "start", "bold")]
        if len(self.parts) > 1:
            body += [
                _text(WIDTH - RIGHT - 110 * (len(self.parts) - 1 - number), 18, part, "end", "bold", COLOURS[number])
                for number, part in enumerate(self.parts)
            ]
        for number, (name, values) in enumerate(self.rows.items()):
            top, left = TOP + BAR * number, float(NAMES)
            body.append(_text(NAMES - 8, top + 14, name, "end"))
            for value, colour in zip(values, COLOURS, strict=False):
                body.append(
                    f'<rect x="{left:.1f}" y="{top}" width="{value * scale:.1f}" height="{BAR - 5}" fill="{colour}"/>'
                )
                left += value * scale
            body.append(_text(left + 6, top + 14, self.form.format(sum(values)), "start"))
        return _document(self.title, height, body)


def _document(title: str, height: int, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="12">\n' + "\n".join(body) + "\n</svg>\n"
    )


def _shade(begin: float, end: float, row: int, odd: int, label: str) -> str:
    """Return a shaded span from its label downwards. Neighbours are shaded differently."""
    top = TOP + LABEL_HEIGHT * row
    return (
        f'<rect x="{begin:.1f}" y="{top - 6}" width="{end - begin:.1f}" height="{HEIGHT - BOTTOM - top + 6}" '
        f'fill="{COLOURS[1]}" fill-opacity="{0.22 if odd else 0.12}"/>'
        f'<text x="{begin + 2:.1f}" y="{top + 4}" font-size="10" fill="{MINOR}">{escape(label)}</text>'
    )


def _step(highest: float) -> float:
    """Return a round distance of ticks, so that there are four to ten of them."""
    power = 10.0 ** math.floor(math.log10(max(highest, 1)))
    return next(step for step in (power / 5, power / 2, power, power * 2) if highest / step <= 8)  # noqa: PLR2004  ticks that fit


def _text(x: float, y: float, text: str, anchor: str, weight: str = "normal", colour: str = MINOR) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _rule(y: float) -> str:
    return f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{MINOR}" stroke-opacity="0.25"/>'


def _number(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
