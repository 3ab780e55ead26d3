"""Charts and the graph of a stack as SVG, drawn on the server. Colours are classes of the style sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 640, 150
_LEFT, _BOTTOM, _TOP = 44, 20, 10
# The letters of a title that fit into a box.
_TITLE = 19


@dataclass(frozen=True)
class Series:
    """A line of a chart: a name, a class of the style sheet, and a value for each place, None where there is none."""

    name: str
    style: str
    values: Sequence[float | None]


def line_chart(title: str, series: Sequence[Series], first: str, last: str, limits: Mapping[str, float]) -> Markup:
    """Return lines over time, with limits as dashed lines. `first` and `last` are the labels of the time axis."""
    known = [value for each in series for value in each.values if value is not None] + list(limits.values())
    high, low = max([*known, 0.0]), min([*known, 0.0])
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return _TOP + (high - value) / span * (HEIGHT - _TOP - _BOTTOM)

    def x(place: int, count: int) -> float:
        return _LEFT + place / max(1, count - 1) * (WIDTH - _LEFT - 8)

    parts = [
        _text(_LEFT - 6, _TOP + 4, _number(high), "end"),
        _text(_LEFT - 6, HEIGHT - _BOTTOM + 4, _number(low), "end"),
        _text(_LEFT, HEIGHT - 4, first, "start"),
        _text(WIDTH - 8, HEIGHT - 4, last, "end"),
        Markup('<line class="axis" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, WIDTH - 8, y(low), y(low)),
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
    return _svg("chart", WIDTH, max(24, 24 * len(counts)), said, parts)


@dataclass(frozen=True)
class Node:
    """A box of the graph: its key, title, kind and count, and where a click leads."""

    key: str
    title: str
    kind: str
    count: str
    is_active: bool = False
    is_alarmed: bool = False


def graph(nodes: Sequence[Node], edges: Sequence[tuple[str, str, str]], href: str) -> Markup:
    """Return the graph of a stack, from left to right. `edges` are (from, to, label); `href` has `{}` for the key."""
    # A worker also answers to its queue: drawn is only the way of the events.
    triggers = {(source, target) for source, target, label in edges if label == "batches"}
    edges = [edge for edge in edges if (edge[1], edge[0]) not in triggers]
    columns = _columns([node.key for node in nodes], edges)
    width, height = 176, 52
    places: dict[str, tuple[float, float]] = {}
    for column, keys in enumerate(columns):
        for row, key in enumerate(keys):
            places[key] = (column * (width + 56) + 8, row * (height + 26) + 8)
    by_key = {node.key: node for node in nodes}
    parts = [
        Markup(
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
        )
    ]
    for source, target, label in edges:
        x1, y1 = places[source][0] + width, places[source][1] + height / 2
        x2, y2 = places[target][0], places[target][1] + height / 2
        if x2 <= x1:  # back to an earlier column, below the boxes
            x1, y1 = places[source][0] + width / 2, places[source][1] + height
            x2, y2 = places[target][0] + width / 2, places[target][1] + height
            path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + 30:.0f} {x2:.0f} {y2 + 30:.0f} {x2:.0f} {y2:.0f}"
        else:
            middle = (x1 + x2) / 2
            path = f"M{x1:.0f} {y1:.0f} C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
        style = "edge active" if by_key[source].is_active and by_key[target].is_active else "edge"
        parts.append(
            Markup('<path class="{}" d="{}" marker-end="url(#arrow)"><title>{}</title></path>').format(
                style, path, label.replace("<br/>", ", ")
            )
        )
    for node in nodes:
        left, top = places[node.key]
        style = f"node{' active' if node.is_active else ''}{' alarmed' if node.is_alarmed else ''}"
        parts += [
            Markup('<a href="{}" class="{}" aria-label="{}">').format(
                href.format(node.key), style, f"{node.title}, {node.kind}, {node.count}"
            ),
            Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="8"/>').format(left, top, width, height),
            _text(
                left + 10,
                top + 21,
                node.title if len(node.title) <= _TITLE else f"{node.title[: _TITLE - 1]}…",
                "start",
                "title",
            ),
            _text(left + 10, top + 40, node.kind, "start", "kind"),
            _text(left + width - 10, top + 40, node.count, "end", "count"),
            Markup("</a>"),
        ]
    most = max((len(keys) for keys in columns), default=1)
    return _svg(
        "graph", len(columns) * (width + 56) - 40, most * (height + 26) + 34, "The stack: what calls what", parts
    )


def _columns(keys: Sequence[str], edges: Sequence[tuple[str, str, str]]) -> list[list[str]]:
    """Return the keys in columns: each right of what leads to it, where no circle forbids it."""
    column = dict.fromkeys(keys, 0)
    for _ in keys:
        for source, target, _label in edges:
            if column[target] <= column[source] < len(keys) and not _leads(target, source, edges):
                column[target] = column[source] + 1
    used = sorted(set(column.values()))
    found = [[key for key in keys if column[key] == each] for each in used]
    # What nothing leads to or from stands last, so that the way of an event is read first.
    linked = {key for source, target, _ in edges for key in (source, target)}
    return [sorted(each, key=lambda key: key not in linked) for each in found]


def _leads(source: str, target: str, edges: Sequence[tuple[str, str, str]]) -> bool:
    seen, todo = set(), [source]
    while todo:
        here = todo.pop()
        if here == target:
            return True
        if here not in seen:
            seen.add(here)
            todo += [to for start, to, _ in edges if start == here]
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
