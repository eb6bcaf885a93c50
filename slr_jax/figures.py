"""Pictures, drawn with matplotlib and saved as PNG and SVG."""

from collections.abc import Mapping, Sequence
import os
import textwrap
from typing import Any

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from slr_jax import files
from slr_jax import landmarks as landmarks_lib

# Not as a matplotlibrc says, which matplotlib looks for in the current folder: text.usetex would run LaTeX.
matplotlib.rcdefaults()
# Text stays text, and the same picture gives the same file.
matplotlib.rcParams.update(
    {'svg.fonttype': 'none', 'svg.hashsalt': 'slr_jax', 'font.size': 9, 'text.parse_math': False}
)

# For which a confusion matrix has room.
_MOST_NAMES = 200


def save(figure: Figure, path: str) -> None:
    """Writes `path`.png and `path`.svg to a folder that is there."""
    directory, name = os.path.split(os.path.abspath(path))
    # One that was moved away is not made anew.
    os.stat(directory)
    with files.replace_files_in(directory) as scratch:
        figure.savefig(os.path.join(scratch, f'{name}.png'), dpi=150)
        figure.savefig(os.path.join(scratch, f'{name}.svg'), metadata={'Date': None})


def draw_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss, accuracy and learning rate over the epochs, from the rows of metrics.csv."""
    figure = Figure(figsize=(10, 3.2), layout='constrained')
    axes = figure.subplots(1, 3)
    epochs = [row['epoch'] for row in rows]
    for ax, name in zip(axes, ('loss', 'accuracy'), strict=False):
        for split in ('train', 'validation'):
            values = [row[f'{split}_{name}'] for row in rows]
            if values[-1] is not None:
                ax.plot(epochs, values, label=split, marker='.' if len(rows) < 30 else None)
        ax.set(title=name, xlabel='epoch')
        ax.legend()
    axes[1].set_ylim(0, 1)
    axes[2].plot(epochs, [row['learning_rate'] for row in rows])
    axes[2].set(title='learning rate', xlabel='epoch', ylim=(0, None))
    return figure


def draw_confusion(matrix: np.ndarray, label_names: Sequence[str]) -> Figure:
    """The confusion matrix, each row as fractions of its true class; numbers where there is room for them.

    Of more than 200 classes every second is named, or every third, and so on.
    """
    num_classes = len(matrix)
    size = float(np.clip(0.45 * num_classes, 4, 16))
    figure = Figure(figsize=(size + 1.5, size), layout='constrained')
    ax = figure.subplots()
    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(fractions, cmap='Blues', vmin=0, vmax=1)
    figure.colorbar(image, ax=ax, shrink=0.8, label='fraction of the true class')
    font = 9 if num_classes <= 30 else 5
    named = range(0, num_classes, -(-num_classes // _MOST_NAMES))
    names = [label_names[label] for label in named]
    ax.set_xticks(named, names, rotation=90, fontsize=font)
    ax.set_yticks(named, names, fontsize=font)
    ax.set(xlabel='predicted', ylabel='true')
    if num_classes <= 30:
        for true, predicted in np.argwhere(matrix):
            color = 'white' if fractions[true, predicted] > 0.5 else 'black'
            count = str(matrix[true, predicted])
            ax.text(predicted, true, count, ha='center', va='center', color=color, fontsize=8)
    return figure


# The signer as the viewer sees them: their right hand on the left.
_PANELS = {
    'right_hand': "signer's right hand",
    'body': 'body',
    'hand': 'hand',
    'hand_0': 'hand slot 0',
    'hand_1': 'hand slot 1',
    'left_hand': "signer's left hand",
}
# Weights that lie closer together than this are drawn as nearly the same.
_SMALLEST_SPAN = 0.1
_COLORS = {
    'right_hand': '#c44e52',
    'left_hand': '#4c72b0',
    'body': '#55a868',
    'hand': '#c44e52',
    'hand_0': '#c44e52',
    'hand_1': '#4c72b0',
}


def panels(layout: landmarks_lib.Layout) -> list[str]:
    """The groups of a layout, from the viewer's left to right."""
    return [group for group in dict.fromkeys((*_PANELS, *layout.groups)) if group in layout.groups]


def panel_title(group: str) -> str:
    """Names a group of points for a person."""
    return _PANELS.get(group, group.replace('_', ' '))


def relative_weights(weights: np.ndarray) -> np.ndarray:
    """<float>[points], 0 for the smallest weight and 1 for the largest, or less where all are nearly the same."""
    return (weights - weights.min()) / max(float(np.ptp(weights)), _SMALLEST_SPAN)


def _color(group: str) -> str:
    return _COLORS.get(group, '#8172b2')


def draw_bars(
    weights: np.ndarray,
    layout: landmarks_lib.Layout,
    title: str,
    deviations: np.ndarray | None = None,
    *,
    initial_weight: float | None = 1,
) -> Figure:
    """The weight of every point <float>[points] as a bar, colored by group, in the order of the layout.

    A line is drawn at the weight that all had before training, if there is one, and of a mean over runs the standard
    deviation of each, <float>[points].
    """
    figure = Figure(figsize=(max(6, 0.24 * layout.num_points), 5), layout='constrained')
    ax = figure.subplots()
    for group, points in layout.groups.items():
        spread = None if deviations is None else deviations[list(points)]
        ax.bar(
            points, weights[list(points)], yerr=spread, ecolor='#555555', color=_color(group), label=panel_title(group)
        )
    if initial_weight is not None:
        ax.axhline(initial_weight, color='black', linewidth=0.8, linestyle=':')
    ax.set_xticks(range(layout.num_points), layout.points, rotation=90, fontsize=8)
    ax.set(title=title, ylabel='weight', xlim=(-1, layout.num_points))
    ax.legend(loc='upper left', bbox_to_anchor=(1, 1))
    return figure


def draw_body_and_hands(
    weights: np.ndarray,
    layout: landmarks_lib.Layout,
    title: str,
    deviations: np.ndarray | None = None,
    significant: np.ndarray | None = None,
) -> Figure:
    """The figure of Luna-Jiménez et al.: each point at its place on a drawn hand or body, its dot sized by its weight.

    Args:
        weights: <float>[points], of the signer's own points.
        layout: of the points.
        title: of the picture.
        deviations: <float>[points], of the weights over runs, written after them.
        significant: <bool>[points], the points that are ringed.
    """
    groups = panels(layout)
    figure = Figure(figsize=(5.4 * len(groups), 6.4), layout='constrained')
    positions, fractions = np.array(layout.figure), relative_weights(weights)
    for ax, group in zip(np.atleast_1d(figure.subplots(1, len(groups))), groups, strict=True):
        points = list(layout.groups[group])
        for a, b in layout.bones:
            if a in points and b in points:
                ax.plot(*positions[[a, b]].T, color='#bbbbbb', linewidth=2, zorder=1)
        sizes = 20 + 700 * fractions[points] ** 1.5
        ax.scatter(*positions[points].T, s=sizes, color=_color(group), alpha=0.75, linewidths=0, zorder=2)
        if significant is not None:
            ringed = [point for point in points if significant[point]]
            rings = {'facecolors': 'none', 'edgecolors': 'black', 'linewidths': 1.5, 'zorder': 3}
            ax.scatter(*positions[ringed].T, s=60 + 700 * fractions[ringed] ** 1.5, **rings)
        for number, point in enumerate(points):
            spread = '' if deviations is None else f'\n± {deviations[point]:.2f}'
            _annotate(ax, positions[point], f'{number}: {weights[point]:.2f}{spread}')
        ax.set(title=f'{panel_title(group)}, mean {weights[points].mean():.2f}', xlim=(-1.2, 1.2), ylim=(-1.1, 1.2))
        ax.set_aspect('equal')
        ax.axis('off')
    lines = [*textwrap.wrap(title, 64 * len(groups)), 'number and weight of each point, as the viewer sees the signer']
    figure.suptitle('\n'.join(lines), fontsize=10)
    return figure


def _annotate(ax: Any, position: np.ndarray, text: str) -> None:
    box = {'facecolor': 'white', 'alpha': 0.6, 'edgecolor': 'none', 'pad': 0.5}
    size = 7 if '\n' in text else 8
    ax.annotate(text, position, (4, 4), textcoords='offset points', fontsize=size, zorder=3, bbox=box, linespacing=0.9)
