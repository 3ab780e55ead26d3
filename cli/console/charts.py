"""Charts and the graph of a stack as SVG, drawn on the server. Colours are classes of the style sheet."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 640, 150
_LEFT, _BOTTOM, _TOP = 54, 20, 10
# The letters of a title that fit into a box.
_TITLE = 19


@dataclass(frozen=True)
class Series:
    """A line of a chart: a name, a class of the style sheet, and a value for each place, None where there is none."""

    name: str
    style: str
    values: Sequence[float | None]


def line_chart(
    title: str,
    series: Sequence[Series],
    first: str,
    last: str,
    limits: Mapping[str, float],
    marks: Mapping[int, tuple[str, str]] | None = None,
) -> Markup:
    """Return lines over time, with limits as dashed lines. `first` and `last` are the labels of the time axis.

    `marks` are signs on the first line, by their places there, each with what it says.
    """
    known = [value for each in series for value in each.values if value is not None] + list(limits.values())
    high, low = max([*known, 0.0]), min([*known, 0.0])
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return _TOP + (high - value) / span * (HEIGHT - _TOP - _BOTTOM)

    def x(place: int, count: int) -> float:
        return _LEFT + place / max(1, count - 1) * (WIDTH - _LEFT - 8)

    parts = [_text(_LEFT, HEIGHT - 4, first, "start"), _text(WIDTH - 8, HEIGHT - 4, last, "end")]
    for tick in (low, low + span / 2, low + span):
        parts += [
            _text(_LEFT - 6, y(tick) + 4, _number(tick), "end"),
            Markup('<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                "axis" if tick == low else "axis middle", _LEFT, WIDTH - 8, y(tick), y(tick)
            ),
        ]
    for name, limit in limits.items():
        parts.append(
            Markup('<line class="limit" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"><title>{}</title></line>').format(
                _LEFT, WIDTH - 8, y(limit), y(limit), f"{name} {_number(limit)}"
            )
        )
        parts.append(_text(WIDTH - 8, y(limit) - 3, f"{name} {_number(limit)}", "end"))
    for each in series:
        for run in _runs(each.values):
            points = " ".join(f"{x(place, len(each.values)):.1f},{y(value):.1f}" for place, value in run)
            shape = '<polyline class="{}" points="{}"/>' if len(run) > 1 else '<polyline class="{} dot" points="{}"/>'
            parts.append(Markup(shape).format(f"line {each.style}", points if len(run) > 1 else f"{points} {points}"))  # noqa: S704  a constant
    for place, (sign, words) in (marks or {}).items():
        if (at := series[0].values[place]) is not None:
            parts += [
                Markup(
                    '<text class="mark" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}<title>{}</title></text>'
                ).format(x(place, len(series[0].values)), y(at) + 4, sign, words)
            ]
    said = f"{title}: {', '.join(f'{each.name} {_last(each.values)}' for each in series)}"
    return _svg("chart", WIDTH, HEIGHT, said, parts)


def bar_chart(title: str, counts: Sequence[tuple[str, float]]) -> Markup:
    """Return horizontal bars, each with its name and count."""
    most = max([count for _, count in counts] or [0.0]) or 1.0
    parts = []
    for row, (name, count) in enumerate(counts):
        top = row * 24
        parts += [
            _text(4, top + 16, name[:48], "start"),
            Markup('<rect class="bar" x="260" y="{}" width="{:.1f}" height="14"/>').format(
                top + 5, max(1.0, count / most * (WIDTH - 330))
            ),
            _text(268 + count / most * (WIDTH - 330), top + 16, _number(count), "start"),
        ]
    said = f"{title}: {', '.join(f'{name} {_number(count)}' for name, count in counts)}"
    return _svg("bars", WIDTH, max(24, 24 * len(counts)), said, parts)


@dataclass(frozen=True)
class Node:
    """A box of the graph: its key, title, kind and count, and where a click leads."""

    key: str
    title: str
    kind: str
    count: str
    is_active: bool = False
    is_alarmed: bool = False


@dataclass(frozen=True)
class Edge:
    """A line of the graph between the boxes of two keys. It moves while something passes."""

    source: str
    target: str
    label: str
    is_active: bool = False


def graph(nodes: Sequence[Node], edges: Sequence[Edge], href: str) -> Markup:
    """Return the graph of a stack, from left to right. `href` has `{}` for the key of a box."""
    # A worker also answers to its queue: drawn is only the way of the events.
    triggers = {(edge.source, edge.target) for edge in edges if edge.label == "batches"}
    shown = [edge for edge in edges if (edge.target, edge.source) not in triggers]
    columns, routes = _layers([node.key for node in nodes], [(edge.source, edge.target) for edge in shown])
    places, height = _placed(columns)
    parts = [
        Markup(
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="9" markerHeight="9" '
            'markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
        )
    ]
    # What is lit lies on top.
    parts += [
        Markup('<path class="{}" d="{}" marker-end="url(#arrow)"><title>{}</title></path>').format(
            "edge active" if edge.is_active else "edge",
            _path([places[key] for key in routes[edge.source, edge.target]]),
            f"{edge.source} to {edge.target}: {edge.label}",
        )
        for edge in sorted(shown, key=lambda edge: edge.is_active)
    ]
    # A line back to an earlier column goes below the boxes.
    goes_back = any(places[target][0] <= places[source][0] for source, target in routes)
    height += BACK if goes_back else 0
    for node in nodes:
        left, middle = places[node.key]
        top = middle - BOX_HEIGHT / 2
        style = f"node{' active' if node.is_active else ''}{' alarmed' if node.is_alarmed else ''}"
        rings = ", an alarm rings" if node.is_alarmed else ""
        parts += [
            Markup('<a href="{}" class="{}" aria-label="{}">').format(
                href.format(node.key), style, f"{node.title}, {node.kind}, {node.count}{rings}"
            ),
            Markup('<rect x="{}" y="{:.0f}" width="{}" height="{}" rx="8"/>').format(left, top, BOX_WIDTH, BOX_HEIGHT),
            _text(left + 12, top + 22, _cut(node.title), "start", "title"),
            _text(left + 12, top + 41, node.kind, "start", "kind"),
            _text(left + BOX_WIDTH - 12, top + 41, node.count, "end", "count"),
            Markup("</a>"),
        ]
    width = len(columns) * (BOX_WIDTH + GAP) - GAP + 2 * MARGIN
    return _svg("graph", width, height, "The stack: what calls what", parts)


# The sizes of the graph: a box, the space between columns and rows, and the lane of a line that passes a column.
BOX_WIDTH, BOX_HEIGHT, GAP, ROW_GAP, LANE, MARGIN, BACK = 186, 54, 52, 20, 22, 6, 24
SWEEPS = 6


def _placed(columns: Sequence[Sequence[str]]) -> tuple[dict[str, tuple[float, float]], float]:
    """Return the left edge and the middle of each box and lane, and the height of the whole."""
    places: dict[str, tuple[float, float]] = {}
    lowest = 0.0
    for column, keys in enumerate(columns):
        top = float(MARGIN)
        for key in keys:
            size = LANE if _is_lane(key) else BOX_HEIGHT
            places[key] = (column * (BOX_WIDTH + GAP) + MARGIN, top + size / 2)
            top += size + ROW_GAP
        lowest = max(lowest, top - ROW_GAP)
    return places, lowest + MARGIN


def _path(places: Sequence[tuple[float, float]]) -> str:
    """Return a line from the right of the first place, through lanes, to the left of the last one."""
    (left, y), *rest = places
    if not rest or rest[-1][0] <= left:
        # Back to an earlier column, or to the same one: below the boxes.
        x1, y1 = left + BOX_WIDTH / 2, y + BOX_HEIGHT / 2
        x2, y2 = places[-1][0] + BOX_WIDTH / 2, places[-1][1] + BOX_HEIGHT / 2
        return f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + BACK:.0f} {x2:.0f} {y2 + BACK:.0f} {x2:.0f} {y2:.0f}"
    drawn = f"M{left + BOX_WIDTH:.0f} {y:.0f}"
    x = left + BOX_WIDTH
    for number, (next_left, next_y) in enumerate(rest):
        middle = (x + next_left) / 2
        drawn += f"C{middle:.0f} {y:.0f} {middle:.0f} {next_y:.0f} {next_left:.0f} {next_y:.0f}"
        x, y = next_left, next_y
        if number < len(rest) - 1:
            x += BOX_WIDTH
            drawn += f"H{x:.0f}"
    return drawn


def _is_lane(key: str) -> bool:
    return "\n" in key


def _layers(
    keys: Sequence[str], edges: Sequence[tuple[str, str]]
) -> tuple[list[list[str]], dict[tuple[str, str], list[str]]]:
    """Return the columns of boxes and lanes, and the way of each edge through them.

    Each box is right of what leads to it, where no circle forbids it. An edge over several columns has a lane in each
    that it passes. Rows follow the middle of what leads to them, so that few lines cross:
    https://en.wikipedia.org/wiki/Layered_graph_drawing
    """
    column = dict.fromkeys(keys, 0)
    for _ in keys:
        for source, target in edges:
            if column[target] <= column[source] and not _leads(target, source, edges):
                column[target] = column[source] + 1
    linked = {key for edge in edges for key in edge}
    used = sorted({column[key] for key in keys})
    # What nothing leads to or from stands last, so that the way of an event is read first.
    columns = [sorted((key for key in keys if column[key] == at), key=lambda key: key not in linked) for at in used]
    rank = {key: number for number, found in enumerate(columns) for key in found}
    routes: dict[tuple[str, str], list[str]] = {}
    for source, target in edges:
        lanes = [f"{source}\n{target}\n{number}" for number in range(rank[source] + 1, rank[target])]
        for number, lane in enumerate(lanes, rank[source] + 1):
            columns[number].append(lane)
        routes[source, target] = [source, *lanes, target]
    steps = [step for route in routes.values() for step in itertools.pairwise(route)]
    for _ in range(SWEEPS):
        for before, found in itertools.pairwise(columns):
            rows = {key: row for row, key in enumerate(before)}
            found.sort(key=lambda key: _middle(key, steps, rows))
    return columns, routes


def _middle(key: str, steps: Sequence[tuple[str, str]], rows: Mapping[str, int]) -> tuple[bool, float]:
    """Return where a box or lane belongs: boxes without a way in come last, lanes below boxes of the same row."""
    found = [rows[source] for source, target in steps if target == key and source in rows]
    return not found, (sum(found) / len(found) if found else 0) + (0.1 if _is_lane(key) else 0)


def _cut(title: str) -> str:
    return title if len(title) <= _TITLE else f"{title[: _TITLE - 1]}…"


def _leads(source: str, target: str, edges: Sequence[tuple[str, str]]) -> bool:
    seen, todo = set(), [source]
    while todo:
        here = todo.pop()
        if here == target:
            return True
        if here not in seen:
            seen.add(here)
            todo += [to for start, to in edges if start == here]
    return False


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((place, value))
    return [run for run in runs if run]


def _last(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _number(known[-1]) if known else "none"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004  digits shown


def _text(x: float, y: float, text: str, anchor: str, style: str = "label") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(style, x, y, anchor, text)


def _svg(style: str, width: float, height: float, label: str, parts: Sequence[Markup]) -> Markup:
    role = "group" if style == "graph" else "img"
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="{}" aria-label="{}">{}</svg>').format(
        style, int(width), int(height), role, label, Markup("").join(parts)
    )
