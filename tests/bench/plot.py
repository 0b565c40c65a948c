"""A line chart as SVG, both axes logarithmic, readable on a light and on a dark page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 860, 500
LEFT, RIGHT, TOP, BOTTOM = 84, 560, 46, 440
"""The frame of the lines; on its right are their names."""
LABEL_GAP = 17
"""Between the base lines of two names."""
COLOURS = 9
_STYLE = """
svg { font: 13px system-ui, sans-serif; }
text { fill: #1f2328; } .quiet { fill: #59636e; }
.grid { stroke: #d1d9e0; } .line { fill: none; stroke-width: 2; }
.s0 { color: #0969da; } .s1 { color: #bc4c00; } .s2 { color: #1a7f37; } .s3 { color: #8250df; }
.s4 { color: #cf222e; } .s5 { color: #0f7c86; } .s6 { color: #9a6700; } .s7 { color: #bf3989; }
.s8 { color: #57606a; }
.line, .lead { stroke: currentColor; } .dot, .name { fill: currentColor; }
.lead { stroke-opacity: 0.4; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; } .quiet { fill: #9198a1; } .grid { stroke: #3d444d; }
.s0 { color: #58a6ff; } .s1 { color: #f0883e; } .s2 { color: #3fb950; } .s3 { color: #bc8cff; }
.s4 { color: #ff7b72; } .s5 { color: #56d4dd; } .s6 { color: #d29922; } .s7 { color: #f778ba; }
.s8 { color: #9198a1; }
}
"""


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    values: tuple[float, ...]
    """One for each place on the x axis, all above 0."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic axis: `low` lies at pixel `begin`, `high` at `end`."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Raises ValueError for what has no logarithm."""
        share = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.begin + share * (self.end - self.begin)

    def decades(self) -> list[float]:
        return [10.0**n for n in range(round(log10(self.low)), round(log10(self.high)) + 1)]


def chart(title: str, x_title: str, y_title: str, xs: Sequence[int], lines: Sequence[Line]) -> str:
    """The whole document. Raises ValueError for no lines, too many, or of another length."""
    if not 0 < len(lines) <= COLOURS:
        raise ValueError(f"{len(lines)} lines: 1 to {COLOURS} are possible")
    if len(xs) < 2 or any(len(line.values) != len(xs) for line in lines):
        raise ValueError("a line needs a value for each of two or more places")
    across = Scale(xs[0], xs[-1], LEFT + 20, RIGHT - 20)
    up = Scale(*whole_decades(v for line in lines for v in line.values), BOTTOM, TOP)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        _text(LEFT, 24, title, extra='font-weight="600"'),
        *_axes(across, up, xs, x_title, y_title),
        *_lines(across, up, xs, lines),
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"


def whole_decades(values: Iterator[float]) -> tuple[float, float]:
    """Powers of ten with all of them in between. Raises ValueError for what is not above 0."""
    found = list(values)
    low, high = 10.0 ** floor(log10(min(found))), 10.0 ** ceil(log10(max(found)))
    return low, high if high > low else 10 * low


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, in their order, no two nearer than `gap`, all within
    `low` and `high` where there is room for them."""
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    placed = [0.0] * len(wanted)
    next_from = low
    for n in order:
        placed[n] = max(wanted[n], next_from)
        next_from = placed[n] + gap
    until = high
    for n in reversed(order):
        placed[n] = min(placed[n], until)
        until = placed[n] - gap
    return placed


def _axes(across: Scale, up: Scale, xs: Sequence[int], x_title: str, y_title: str) -> Iterator[str]:
    for value in up.decades():
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, f"{value:,g}", "quiet", 'text-anchor="end"')
    for value in xs:
        x = across.at(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{BOTTOM}" y2="{BOTTOM + 5}"/>'
        yield _text(x, BOTTOM + 21, f"{value:,}", "quiet", 'text-anchor="middle"')
    middle = (LEFT + RIGHT) / 2
    yield _text(middle, BOTTOM + 44, x_title, "quiet", 'text-anchor="middle"')
    turned = f'text-anchor="middle" transform="rotate(-90 18 {(TOP + BOTTOM) / 2})"'
    yield _text(18, (TOP + BOTTOM) / 2, y_title, "quiet", turned)


def _lines(across: Scale, up: Scale, xs: Sequence[int], lines: Sequence[Line]) -> Iterator[str]:
    ends = [up.at(line.values[-1]) for line in lines]
    names_at = apart(ends, LABEL_GAP, TOP, BOTTOM)
    for number, (line, end, name_at) in enumerate(zip(lines, ends, names_at, strict=True)):
        points = [(across.at(x), up.at(y)) for x, y in zip(xs, line.values, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        yield f'<g class="s{number}"><polyline class="line" points="{path}"/>'
        yield from (f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
        lead = f'x1="{points[-1][0] + 6:.1f}" y1="{end:.1f}" x2="{RIGHT + 6}" y2="{name_at:.1f}"'
        yield f'<line class="lead" {lead}/>'
        yield _text(RIGHT + 11, name_at + 4, line.name, "name") + "</g>"


def _text(x: float, y: float, words: str, kind: str = "", extra: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} {extra}>{escape(words)}</text>'
