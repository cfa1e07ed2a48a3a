"""One offline page of a Measurement: plots over the sizes, tables, reasons, and where and how it was measured.

* plotly draws; its JavaScript stands in the page, which loads nothing: a Content-Security-Policy forbids it to.
* A workload's plots: steady time and temporary memory over the size, and the first pass. The size is the one dim that varies, or
  the product of those that do.
* Colours of lines read in light and dark; text, grids and tables follow the reader's preference by CSS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from sod2jax.bench.ablation import is_ablation, tables
from sod2jax.bench.measurement import OURS, Measurement, Result, Steady
from sod2jax.bench.table import LEGEND, MEAN, ROW, cells, count, mean_lines, notes, ratio, size_text

COLORS = ("#2f81f7", "#e8710a", "#1a9e6c", "#b667e8", "#e5484d", "#a68a00", "#12a5b5", "#e0559f", "#7f8794")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "x", "cross", "star")  # one fewer: no two look alike
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
STYLE = """
:root { color-scheme: light dark; --text: light-dark(#1f2328, #e6edf3); --muted: light-dark(#59636e, #9198a1);
  --line: light-dark(#d9dee4, #363d47); --good: light-dark(#1a7f37, #3fb950); --bad: light-dark(#cf222e, #ff7b72); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: light-dark(#fff, #0d1117); max-width: 75rem;
  margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
code { font-family: ui-monospace, monospace; font-size: 0.9em; }
p, dd, li { overflow-wrap: anywhere; } p { color: var(--muted); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.2rem; } dt { color: var(--muted); } dd { margin: 0; }
.wide { overflow-x: auto; } .wide > div { min-width: 48rem; margin-bottom: 0.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.55rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--muted); font-weight: 500; vertical-align: bottom; } th:first-child, td:first-child { text-align: left; }
tr:last-child td { border-bottom: 0; } .good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
a { color: inherit; }
.js-plotly-plot :is([class*="tick"], .infolayer) text { fill: var(--text) !important; }
.js-plotly-plot .gridlayer path, .js-plotly-plot .zl { stroke: var(--line) !important; }
"""


def require() -> None:
    """ModuleNotFoundError, which says what to install, if a page could not be made."""
    try:
        import plotly  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pages need plotly: pip install 'sod2jax[bench]', or pip install plotly") from None


def html(measurement: Measurement) -> str:
    """The page's text."""
    require()
    from plotly.offline import get_plotlyjs

    m = measurement
    engines = sorted(m.engines, key=lambda engine: engine != OURS)  # ours has the first colour
    sections = "".join(_section(i, result, engines) for i, result in enumerate(m.results))
    told = "".join(f"<li>{escape(note)}" for note in notes(m))
    machine = {**m.machine, "threads": m.threads}
    about = {
        "command": f"<code>{escape(m.command)}</code>",
        "date": escape(m.date),
        "machine": escape(", ".join(f"{k} {v}" for k, v in machine.items())),
        "versions": escape(", ".join(f"{k} {v}" for k, v in m.versions.items())),
    }
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>sod2 bench</title><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>
<body><h1>sod2 bench</h1>
<dl>{"".join(f"<dt>{k}<dd>{v}" for k, v in about.items())}</dl>
{_ablation(m) if is_ablation(m) else _overview(m)}
{f"<h2>What did not run, and what differs</h2><ul>{told}</ul>" if told else ""}
{sections}
</body></html>
"""


def _overview(m: Measurement) -> str:
    """Steady time of sod2 over each engine's, workload by workload, and the means."""
    peers = [e for e in m.engines if e != OURS]
    rows = []
    for i, result in enumerate(m.results):
        ours = result.row(OURS)
        ratios = (_judged(result.mean_ratio(OURS, peer)) for peer in peers)
        name = f'<a href="#w{i}">{escape(result.name)}</a>'
        rows.append([name, *ratios, escape(count(ours.compilations if ours else None))])
    means = [[escape(cell) for cell in line] for line in mean_lines(m)]
    return (
        "<h2>Steady time of sod2 over each engine's</h2><p>Below 1, sod2 takes less time. Geometric means over the sizes.</p>"
        + _table(["", *map(escape, peers), "compilations of sod2"], rows)
        + (
            "<h2>Geometric means over the workloads</h2><p>sod2 over each engine.</p>" + _table(["", *MEAN], means)
            if means
            else ""
        )
    )


def _ablation(m: Measurement) -> str:
    """What each part of the compiler is worth, workload by workload."""
    return "".join(
        f"<h2>{escape(title)}</h2><p>Each column adds one part of the compiler. Below 1 is better.</p>"
        + _table(["", *map(escape, labels)], [map(escape, line) for line in lines])
        for title, labels, lines in tables(m)
    )


def _section(number: int, result: Result, engines: Sequence[str]) -> str:
    layers = "".join(f", {n} layers in {escape(paper)}" for paper, n in result.layers.items())
    about = f"<code>{escape(result.file)}</code>{', small form' if result.small else ''}"
    about += f", dims {escape(', '.join(result.dims))}{layers}"
    rows = [
        [
            escape(row.engine),
            *(f'<span class="bad">{escape(c)}</span>' if c.endswith("!") else escape(c) for c in cells(result, row)),
        ]
        for row in result.rows
    ]
    return (
        f'<h2 id="w{number}">{escape(result.name)}</h2><p>{about}</p>{_plots(number, result, engines)}'
        + _table(["", *(heading.replace("-\n", "").replace("\n", " ") for heading in ROW)], rows)
        + (f"<p>{'<br>'.join(map(escape, LEGEND))}</p>" if number == 0 else "")
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of cells that are HTML already."""
    body = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}" for row in rows)
    return f'<div class="wide"><table><tr>{"".join(f"<th>{cell}" for cell in head)}{body}</table></div>'


def _judged(value: float | None) -> str:
    side = "" if value is None or 0.97 <= value <= 1.03 else "good" if value < 1 else "bad"
    return f'<span class="{side}">{ratio(value)}</span>'


# -- plots


def _plots(number: int, result: Result, engines: Sequence[str]) -> str:
    """The three plots, side by side."""
    from plotly.graph_objects import Bar, Scatter
    from plotly.subplots import make_subplots

    if not any(row.trace or row.steady for row in result.rows):
        return ""
    titles = ("first pass, s", "steady time, ms", "temporary memory, MB")
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.06)
    color = lambda row: COLORS[engines.index(row.engine) % len(COLORS)]
    rows = [row for row in result.rows if not result.wrong(row)]  # how fast a wrong result comes is not shown
    ran = [row for row in reversed(rows) if row.trace]
    for part, of, opacity in (("preparation", lambda r: r.prepare, 0.45), ("trace", lambda r: r.first_pass, 1.0)):
        bars = Bar(
            x=[of(row) or 0.0 for row in ran], y=[escape(row.engine) for row in ran], orientation="h", showlegend=False,
            marker={"color": [color(row) for row in ran], "opacity": opacity},
            hovertemplate=f"%{{y}}, {part}: %{{x:.3g}} s<extra></extra>",
        )  # fmt: skip
        figure.add_trace(bars, 1, 1)
    label, place = size_axis(result)
    shown: set[str] = set()
    for column, of in ((2, lambda s: s.seconds and 1e3 * s.seconds), (3, lambda s: s.temp_bytes and 1e-6 * s.temp_bytes)):
        xs, ys = [], []
        for row in rows:
            points = sorted((place(s), y, escape(size_text(s.size))) for s in row.steady if (y := of(s)) is not None)
            if not points:
                continue
            x, y, sizes = zip(*points, strict=True)
            line = Scatter(
                x=x, y=y, customdata=sizes, name=escape(row.engine), mode="lines+markers",
                hovertemplate="%{customdata}: %{y:.3g}", legendgroup=row.engine, showlegend=row.engine not in shown,
                line={"color": color(row), "width": 3 if row.engine == OURS else 1.5},
                marker={"symbol": SYMBOLS[engines.index(row.engine) % len(SYMBOLS)], "size": 8},
            )  # fmt: skip
            figure.add_trace(line, 1, column)
            shown.add(row.engine)
            xs += x
            ys += y
        figure.update_xaxes(_scale(xs, sorted(set(xs))), title=label, row=1, col=column)
        figure.update_yaxes(_scale(ys), row=1, col=column)
    figure.update_yaxes(automargin=True, row=1, col=1)
    figure.update_layout(
        template="none", barmode="stack", height=340, margin={"l": 45, "r": 10, "t": 60, "b": 45},
        legend={"orientation": "h", "y": 1.12, "yanchor": "bottom", "x": 0}, font={"family": "system-ui, sans-serif", "size": 12},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    config = {"displayModeBar": False, "responsive": True}
    drawn = figure.to_html(config, include_plotlyjs=False, full_html=False, div_id=f"plot{number}", include_mathjax=False)
    return f'<div class="wide">{drawn}</div>'


def size_axis(result: Result) -> tuple[str, Callable[[Steady], int]]:
    """What stands for the size: the product of the dims that vary."""
    sizes = [s.size for row in result.rows for s in row.steady]
    varying = [d for d in result.dims if len({size[d] for size in sizes}) > 1] or result.dims
    return " \u00b7 ".join(varying), lambda s: math.prod(s.size[d] for d in varying)


def _scale(values: Sequence[float], ticks: Sequence[float] = ()) -> dict:
    """Logarithmic where values differ by an order of magnitude, else from zero on."""
    if not values or min(values) <= 0 or max(values) < 10 * min(values):
        return {"rangemode": "tozero"}
    lowest, highest = (math.floor(math.log10(f(values))) for f in (min, max))
    leading = (1, 2, 5) if highest - lowest < 3 else (1,)
    return {"type": "log", "tickvals": ticks or [float(f"{k}e{e}") for e in range(lowest, highest + 1) for k in leading]}
