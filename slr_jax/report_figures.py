"""Figures of a report as SVG text: their colors are those of the page's style, light or dark."""

from collections.abc import Mapping, Sequence
import dataclasses

from matplotlib import ticker
import numpy as np

from slr_jax import figures
from slr_jax import landmarks as landmarks_lib
from slr_jax import report_html as html

# Units of a figure are CSS pixels where it is as wide as a small phone, and larger elsewhere.
_WIDTH, _HEIGHT = 320, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 8, 10, 38
_MAX_VERTICES = 240
NUM_LABELED = 8

_Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: in words.
        style: a class of the page's style.
        points: (x, y), in the order of x.
    """

    name: str
    style: str
    points: Sequence[_Point]


def _svg(width: float, height: float, description: str, content: str, style: str) -> str:
    role = f'role="img" aria-label="{html.escape(description)}"' if description else 'aria-hidden="true"'
    return f'<svg class="{style}" viewBox="0 0 {width:g} {height:g}" {role}>{content}</svg>'


def draw_lines(lines: Sequence[Line], description: str, *, top: float | None = None, marked: float = 0) -> str:
    """Lines over epochs.

    Args:
        lines: those without points are left out.
        description: in words, for who does not see it.
        top: of the y axis; None for the largest value.
        marked: an epoch to mark; 0 for none.
    """
    lines = [line for line in lines if line.points]
    points = np.array([point for line in lines for point in line.points])
    last = max(2.0, points[:, 0].max())
    top = top or float(np.percentile(points[:, 1], 99.5)) * 1.05 or 1.0

    def place(x: float, y: float) -> str:
        right = _LEFT + (x - 1) / (last - 1) * (_WIDTH - _LEFT - _RIGHT)
        down = _HEIGHT - _BOTTOM - min(y / top, 1.05) * (_HEIGHT - _TOP - _BOTTOM)
        return f'{right:.1f},{down:.1f}'

    parts = []
    for value in ticker.MaxNLocator(5).tick_values(0, top):
        if 0 <= value <= top:
            x, y = place(1, value).split(',')
            parts.append(f'<path class="gridline" d="M{x},{y}H{_WIDTH - _RIGHT}"/>')
            parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y}" dy=".35em" text-anchor="end">{value:.5g}</text>')
    for value in ticker.MaxNLocator(6, integer=True).tick_values(1, last):
        if 1 <= value <= last:
            x, _ = place(value, 0).split(',')
            label = f'<text class="tick" x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
            parts.append(label)
    parts.append(f'<text class="tick" x="{(_WIDTH + _LEFT) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">epoch</text>')
    if marked:
        parts.append(f'<path class="marked" d="M{place(marked, 0)}L{place(marked, top)}"/>')
    for line in lines:
        step = -(-len(line.points) // _MAX_VERTICES)
        drawn = [*line.points[:-1:step], line.points[-1]]
        vertices = 'L'.join(place(x, y) for x, y in drawn)
        # A line of one point has a length, so that its round end is drawn.
        vertices += 'h.01' if len(drawn) == 1 else ''
        parts.append(f'<path class="line {line.style}" d="M{vertices}"><title>{html.escape(line.name)}</title></path>')
    return _svg(_WIDTH, _HEIGHT, description, ''.join(parts), 'chart')


def draw_legend(entries: Mapping[str, str]) -> str:
    """Names of lines beside a piece of each; style -> name."""
    items = [
        f'<span>{_svg(28, 12, "", f"""<path class="line {style}" d="M2,6H26"/>""", "key")} {html.escape(name)}</span>'
        for style, name in entries.items()
    ]
    return f'<p class="legend">{"".join(items)}</p>'


def draw_interval(value: float, low: float, high: float) -> str:
    """A fraction and its interval on a line from 0 to 1; the numbers are to be written beside it."""
    line = '<path class="gridline" d="M3,9H117M3,5V13M60,5V13M117,5V13"/>'
    a, b, x = (3 + 114 * number for number in (low, high, value))
    bar = f'<rect class="interval" x="{a:.1f}" y="5" width="{b - a:.1f}" height="8" rx="2"/>'
    return _svg(120, 18, '', f'{line}{bar}<path class="value" d="M{x:.1f},2V16"/>', 'range')


def draw_spread(values: Sequence[float], low: float, high: float) -> str:
    """Dots on a line from `low` to `high`, and a bar at their mean; the numbers are to be written beside it."""
    places = 4 + 112 * (np.array(values) - low) / max(high - low, 1e-9)
    dots = ''.join(f'<circle class="dot" cx="{x:.1f}" cy="9" r="3.5"/>' for x in places)
    mean = f'<path class="mean" d="M{places.mean():.1f},1V17"/>'
    return _svg(120, 18, '', f'<path class="gridline" d="M2,9H118"/>{dots}{mean}', 'range')


def draw_mask(
    weights: np.ndarray, layout: landmarks_lib.Layout, significant: np.ndarray | None = None
) -> list[tuple[str, str]]:
    """Each point at its place on a drawn hand or body, its dot sized by its weight; the heaviest have their numbers.

    Args:
        weights: <float>[points], of the signer's own points.
        layout: of the points.
        significant: <bool>[points], the points that are ringed.

    Returns:
        For each group of points: the title, and the SVG.
    """
    fractions = figures.relative_weights(weights)
    labeled = set(np.argsort(-weights, kind='stable')[:NUM_LABELED].tolist())
    places = np.array(layout.figure) * (133, -133) + (160, 164)
    drawn = []
    for group in figures.panels(layout):
        points = layout.groups[group]
        bones = ''.join(
            f'M{places[a][0]:.0f},{places[a][1]:.0f}L{places[b][0]:.0f},{places[b][1]:.0f}'
            for a, b in layout.bones
            if a in points and b in points
        )
        parts = [f'<path class="bone" d="{bones}"/>'] if bones else []
        for number, point in enumerate(points):
            (x, y), radius = places[point], 2.5 + 12 * fractions[point] ** 0.75
            name = html.escape(f'{number}: {layout.points[point]}, {weights[point]:.3f}')
            dot = f'<circle class="{color_class(group)}" cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}">'
            parts.append(f'{dot}<title>{name}</title></circle>')
            if significant is not None and significant[point]:
                parts.append(f'<circle class="ring" cx="{x:.0f}" cy="{y:.0f}" r="{radius + 2:.1f}"/>')
        for number, point in enumerate(points):
            if point in labeled:
                (x, y), shift = places[point], 6 + 8 * fractions[point]
                anchor, x = ('end', x - shift) if 70 < x < 150 or x > 250 else ('start', x + shift)
                text = f'{number}: {weights[point]:.2f}'
                parts.append(
                    f'<text class="label" x="{x:.0f}" y="{y:.0f}" dy=".35em" text-anchor="{anchor}">{text}</text>'
                )
        title = f'{figures.panel_title(group)}, mean {weights[list(points)].mean():.2f}'
        drawn.append((title, _svg(320, 318, f'Weights of the points of the {title}', ''.join(parts), 'mask')))
    return drawn


def color_class(group: str) -> str:
    """The class of the page's style for a group of points."""
    return {'right_hand': 'right', 'hand': 'right', 'hand_0': 'right', 'left_hand': 'left', 'hand_1': 'left'}.get(
        group, 'body'
    )
