"""The report on a CSV file as one HTML page: charts in SVG, no script, nothing loaded from anywhere.

Everything in a report that comes from the file is text to the page: `_text` escapes it, and makes what steers a display
(such as marks of direction) visible. The page's own policy forbids scripts and requests besides.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from cli.core.terminal import inert
from cli.file_report import notes, percent

if TYPE_CHECKING:
    from cli.csv_report import ColumnReport, Distribution, FileReport

SHOWN_COLUMNS = 200
SHOWN_REASONS = 50
LONGEST_TEXT = 300
_BAR_WIDTH, _BAR_HEIGHT = 240, 12
_CHART_WIDTH, _CHART_HEIGHT = 260, 90

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#667;--line:#d8dbe0;--paper:#fff;--good:#2f7d4f;--bad:#b3382c;
--bar:#3b6ea8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa3ad;--line:#333a42;--paper:#14171a;--good:#5fb583;
--bad:#e0796d;--bar:#7aa8dc}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.4rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:anywhere}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.soft{color:var(--soft)}
.charts{display:flex;flex-wrap:wrap;gap:1.2rem}
figure{margin:0;width:260px}
figcaption{overflow-wrap:anywhere}
svg{display:block;max-width:100%}
.wide{overflow-x:auto}
"""
_NUMBERS = {"rows", "values", "nulls", "share", "distinct", "sum", "average", "least", "greatest"}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(report: "FileReport") -> str:
    """Return the page on a file."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(report.key)}</title><style>{_STYLE}</style></head><body>",
        *_summary(report),
        *_notes(report),
        *_reasons(report),
        *_nulls(report),
        *_distributions(report),
        *_columns(report),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _summary(report: "FileReport") -> Iterator[str]:
    rate = f" ({percent(report.processed / report.rows)})" if report.rows else ""
    yield f"<h1>{_text(report.key)}: {_text(report.status)}</h1>"
    if report.error:
        yield f"<p>{_text(report.reason or '')}: {_text(report.error)}</p>"
    when = f", completed {_text(report.completed_at)}" if report.completed_at else ""
    yield (
        f"<p>{report.rows:,} rows: {report.processed:,} processed{rate}, {report.rejected:,} rejected, in "
        f"{report.duration_seconds:.2f} s{when}</p>"
    )
    if report.rows:
        shares = ((report.processed, "good"), (report.rejected, "bad"))
        yield _stacked([(count / report.rows, colour) for count, colour in shares], "processed and rejected rows")
    for name, key in (("processed", report.processed_key), ("rejected", report.rejected_key)):
        if key:
            yield f'<p class="soft">{name} {_text(report.output_bucket or "")}/{_text(key)}</p>'


def _notes(report: "FileReport") -> Iterator[str]:
    lines = list(notes(report.model_dump()))
    if lines:
        yield "<h2>Notes</h2><ul>"
        yield from (f"<li>{_text(line)}</li>" for line in lines)
        yield "</ul>"


def _reasons(report: "FileReport") -> Iterator[str]:
    if not report.reasons:
        return
    most = max(reason.count for reason in report.reasons) or 1
    rows = (
        [
            _cell(reason.column or "(row)"),
            _cell(reason.reason),
            _number_cell(f"{reason.count:,}"),
            f"<td>{_bar(reason.count / most, 'bad')}</td>",
        ]
        for reason in report.reasons[:SHOWN_REASONS]
    )
    yield "<h2>Rejected for</h2>"
    yield from _table(["column", "reason", "rows", ""], rows)
    yield from _more(len(report.reasons), SHOWN_REASONS, "reasons")


def _nulls(report: "FileReport") -> Iterator[str]:
    counted = [(name, column) for name, column in report.columns.items() if column.nulls]
    if not counted:
        return
    shares = [(name, column.nulls, column.nulls / (column.count + column.nulls)) for name, column in counted]
    shares.sort(key=lambda each: -each[2])
    rows = (
        [_cell(name), _number_cell(f"{nulls:,}"), _number_cell(percent(share)), f"<td>{_bar(share, 'bar')}</td>"]
        for name, nulls, share in shares[:SHOWN_COLUMNS]
    )
    yield "<h2>Nulls in the processed rows</h2>"
    yield from _table(["column", "nulls", "share", ""], rows)
    yield from _more(len(shares), SHOWN_COLUMNS, "columns with nulls")


def _distributions(report: "FileReport") -> Iterator[str]:
    shown = list(report.distributions.items())[:SHOWN_COLUMNS]
    if not shown:
        return
    yield '<h2>Distributions</h2><p class="soft">Of a sample of the processed rows.</p><div class="charts">'
    for name, distribution in shown:
        yield f"<figure><figcaption>{_text(name)}</figcaption>{_chart(distribution)}"
        if distribution.quantiles:
            ranks = ", ".join(f"{_text(rank)} {_shown(value)}" for rank, value in distribution.quantiles.items())
            yield f'<p class="soft">{ranks}</p>'
        yield "</figure>"
    yield "</div>"
    yield from _more(len(report.distributions), SHOWN_COLUMNS, "distributions")


def _chart(distribution: "Distribution") -> str:
    if distribution.bins:
        ends = f"{_shown(distribution.bins[0].start)} to {_shown(distribution.bins[-1].end)}"
        titles = [f"{_shown(each.start)} to {_shown(each.end)}: {percent(each.share)}" for each in distribution.bins]
        bars = _histogram([each.share for each in distribution.bins], titles, ends)
        return f'{bars}<p class="soft">{ends}</p>'
    rows = (
        [_cell(each.value or "(empty)"), _number_cell(percent(each.share)), f"<td>{_bar(each.share, 'bar', 100)}</td>"]
        for each in distribution.values
    )
    return "".join(_table([], rows))


def _columns(report: "FileReport") -> Iterator[str]:
    if not report.columns:
        return
    rows = (_column(name, column) for name, column in list(report.columns.items())[:SHOWN_COLUMNS])
    yield '<h2>Columns of the processed rows</h2><div class="wide">'
    yield from _table(["column", "type", "values", "nulls", "distinct", "sum", "average", "least", "greatest"], rows)
    yield "</div>"
    yield from _more(len(report.columns), SHOWN_COLUMNS, "columns")


def _column(name: str, column: "ColumnReport") -> list[str]:
    about = "about " if column.distinct_is_approximate else ""
    distinct = "" if column.distinct is None else f"{about}{column.distinct:,}"
    return [
        _cell(name),
        _cell(column.type),
        _number_cell(f"{column.count:,}"),
        _number_cell(f"{column.nulls:,}"),
        _number_cell(distinct),
        *(_number_cell(_shown(value)) for value in (column.sum, column.avg, column.min, column.max)),
    ]


# Elements


def _text(text: str) -> str:
    """Return a text for the page, escaped, on one line and not too long."""
    cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "..."
    return escape(inert(cut))


def _shown(value: Any) -> str:
    """Return a value of a report for the page."""
    if value is None:
        return ""
    return _text(f"{value:.10g}" if isinstance(value, float) else str(value))


def _cell(text: str) -> str:
    return f"<td>{_text(text)}</td>"


def _number_cell(markup: str) -> str:
    return f'<td class="n">{markup}</td>'


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    head = "".join(f'<th class="n">{name}</th>' if name in _NUMBERS else f"<th>{name}</th>" for name in names)
    yield f"<table><thead><tr>{head}</tr></thead><tbody>" if names else "<table><tbody>"
    yield from (f"<tr>{''.join(row)}</tr>" for row in rows)
    yield "</tbody></table>"


def _more(count: int, shown: int, what: str) -> Iterator[str]:
    if count > shown:
        yield f'<p class="soft">and {count - shown:,} more {what}</p>'


def _bar(share: float, colour: str, width: int = _BAR_WIDTH) -> str:
    return _svg(width, _BAR_HEIGHT, "", _rect(0, 1, max(1.0, share * width), _BAR_HEIGHT - 2, colour))


def _stacked(parts: Sequence[tuple[float, str]], label: str) -> str:
    width, left, rects = 3 * _BAR_WIDTH, 0.0, ""
    for share, colour in parts:
        rects += _rect(left, 0, share * width, 1.5 * _BAR_HEIGHT, colour)
        left += share * width
    return _svg(width, int(1.5 * _BAR_HEIGHT), label, rects)


def _histogram(shares: Sequence[float], titles: Sequence[str], label: str) -> str:
    most, width = max(shares) or 1, _CHART_WIDTH / len(shares)
    rects = "".join(
        _rect(place * width, _CHART_HEIGHT * (1 - share / most), width - 2, _CHART_HEIGHT * share / most, "bar", title)
        for place, (share, title) in enumerate(zip(shares, titles, strict=True))
    )
    return _svg(_CHART_WIDTH, _CHART_HEIGHT, f"histogram, {label}", rects)


def _rect(x: float, y: float, width: float, height: float, colour: str, title: str = "") -> str:
    named = f"<title>{title}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="var(--{colour})">{named}</rect>'
    )


def _svg(width: int, height: int, label: str, content: str) -> str:
    # The label's texts are escaped already.
    named = f'role="img" aria-label="{label}"' if label else 'aria-hidden="true"'
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" {named}>{content}</svg>'
