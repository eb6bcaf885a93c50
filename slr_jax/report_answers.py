"""What a model answered, for a report: confusions, classes, and the worst mistakes with their clips."""

import base64
import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import figures, report_figures
from slr_jax import landmarks as landmarks_lib
from slr_jax import metrics as metrics_lib
from slr_jax import report_html as html
from slr_jax.report_data import Report

MAX_MISTAKES = 12
_MAX_OF_PAIR = 3
_MAX_FRAMES = 64
_MAX_CLASSES = 100
_MAX_PAIRS = 10
# Landmarks are written as whole numbers of this part of the picture's width and height.
_UNIT, _MISSING = 1e-4, -32768
_FRAMES_PER_SECOND = (5, 10, 25, 50)
_DEFAULT_FRAMES_PER_SECOND = 25


# --- Confusions and classes


def _confusion_matrix(report: Report) -> np.ndarray:
    return metrics_lib.confusion_matrix(report.clips.labels, report.predicted, len(report.label_names))


def confusions(report: Report) -> str:
    """The confusion matrix, and the most frequent pairs."""
    matrix, names = _confusion_matrix(report), report.label_names
    wrong = matrix - np.diag(np.diag(matrix))
    if not wrong.any():
        return '<p>No clip was mistaken.</p>' + _matrix_table(matrix, names, np.arange(len(names)))
    pairs = np.argsort(-wrong, axis=None, kind='stable')[:_MAX_PAIRS]
    rows = []
    for true, predicted in zip(*np.unravel_index(pairs, wrong.shape), strict=True):
        count, clips = int(wrong[true, predicted]), int(matrix[true].sum())
        if count:
            cells = [html.Cell(html.long_text(names[predicted])), html.count_cell(count), html.count_cell(clips)]
            rows.append((html.long_text(names[true]), cells))
    table = html.sortable('The most frequent confusions', ('true', 'predicted', 'clips', 'of all clips'), rows)
    involved = wrong.sum(axis=0) + wrong.sum(axis=1)
    shown = np.sort(np.argsort(-involved, kind='stable')[:_MAX_CLASSES])
    return f'{_matrix_table(matrix, names, shown)}<h3>Pairs</h3>{table}'


def _matrix_table(matrix: np.ndarray, names: Sequence[str], shown: np.ndarray) -> str:
    """Counts; darker for a larger part of the true class, the right answers outlined on the diagonal."""
    totals = np.maximum(matrix.sum(axis=1), 1)
    header = ''.join(f'<th scope="col">{html.long_text(names[label])}</th>' for label in shown)
    body = []
    for true in shown:
        cells = ''.join(_matrix_cell(true == label, matrix[true, label], totals[true]) for label in shown)
        body.append(f'<tr><th scope="row">{html.long_text(names[true])}</th>{cells}</tr>')
    caption = 'Clips by true class (rows) and predicted class (columns)'
    if len(shown) < len(names):
        caption += f'; the {len(shown)} of {len(names)} classes with the most mistakes'
    table = (
        f'<table class="confusion{" many" if len(shown) > 30 else ""}"><caption>{caption}</caption>'
        f'<thead><tr><td>true ↓ predicted →</td>{header}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    )
    key = (
        '<p class="soft">Blue and outlined: right. Orange: mistakes. The stronger, the larger the part of the row.</p>'
    )
    return html.scrolling('Confusion matrix', table) + key


def _matrix_cell(is_right: bool, count: int, total: int) -> str:
    if not count:
        return '<td class="diagonal"></td>' if is_right else '<td></td>'
    style = 'hit' if is_right else 'miss'
    return f'<td class="{style}" style="--part:{count / total:.2f}">{count}</td>'


def classes(report: Report) -> str:
    """A row per class."""
    matrix, names = _confusion_matrix(report), report.label_names
    rows = []
    for label, name in enumerate(names):
        clips, correct = int(matrix[label].sum()), int(matrix[label, label])
        low, high = metrics_lib.wilson_interval(correct, clips)
        wrong = matrix[label].copy()
        wrong[label] = 0
        mistaken = f'{html.long_text(names[wrong.argmax()])} ({wrong.max()})' if wrong.any() else ''
        accuracy = correct / clips if clips else 2.0
        drawing = report_figures.draw_interval(accuracy, low, high) if clips else ''
        cells = [
            html.count_cell(clips),
            html.count_cell(correct),
            html.Cell(html.percent(accuracy) if clips else 'no clips', accuracy),
            html.interval_cell(low, high) if clips else html.Cell('', 2.0),
            html.Cell(drawing),
            html.count_cell(int(matrix[:, label].sum())),
            html.Cell(mistaken),
        ]
        rows.append((html.long_text(name), cells))
    rows.sort(key=lambda row: row[1][2].value or 0)
    columns = (
        'class',
        'clips',
        'correct',
        'accuracy',
        '95 % interval',
        '0 to 100 %',
        'times predicted',
        'most often taken for',
    )
    caption = f'Every class on the {report.split} split, the worst first; a click on a header sorts'
    return html.sortable(caption, columns, rows, ascending='accuracy')


# --- Clips


def worst(report: Report) -> list[int]:
    """The clips whose wrong answers are the most probable, the worst first; a few of each true and predicted class."""
    probabilities = metrics_lib.probabilities(report.best.logits)
    predicted = report.predicted
    wrong = np.flatnonzero(predicted != report.clips.labels)
    by_confidence = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind='stable')]
    seen, chosen = collections.Counter[tuple[int, int]](), []
    for clip in by_confidence.tolist():
        pair = (int(report.clips.labels[clip]), int(predicted[clip]))
        seen[pair] += 1
        if seen[pair] <= _MAX_OF_PAIR:
            chosen.append(clip)
    return chosen[:MAX_MISTAKES]


def mistakes(report: Report) -> str:
    """The most confident wrong answers, with their clips."""
    listed = worst(report)
    if not listed:
        return '<p>No clip was mistaken.</p>'
    count = int((report.predicted != report.clips.labels).sum())
    options = ''.join(
        f'<option{" selected" if rate == _DEFAULT_FRAMES_PER_SECOND else ""}>{rate}</option>'
        for rate in _FRAMES_PER_SECOND
    )
    return (
        f'<p>{"The" if count == len(listed) else f"{len(listed)} of the {count:,}"} wrong answers, the most confident '
        f'first, at most {_MAX_OF_PAIR} that mistake the same class for the same other. Clips are drawn from the '
        'landmarks, as the viewer sees the signer; the shape of the picture is not in a dataset, so that it is drawn '
        'square.</p>'
        f'<p class="speed"><label>Frames per second <select id="speed">{options}</select></label></p>'
        f'{_drawing_legend(report.best.description)}'
        '<noscript><p class="note">The drawings need JavaScript.</p></noscript>'
        f'<div class="clips">{"".join(_clip_card(report, clip) for clip in listed)}</div>'
    )


def _drawing_legend(description: dataset_lib.Description) -> str:
    names = {group['style']: group['title'] for group in drawn_groups(description)}
    items = []
    for style, title in names.items():
        dot = f'<path class="points {style}" d="M14,6h.01"/>'
        svg = f'<svg class="key figure" viewBox="0 0 28 12" aria-hidden="true">{dot}</svg>'
        items.append(f'<span>{svg} {html.escape(title)}</span>')
    return f'<p class="legend">{"".join(items)}</p>'


def _clip_card(report: Report, clip: int) -> str:
    names, true = report.label_names, int(report.clips.labels[clip])
    logits = report.best.logits[clip : clip + 1]
    probabilities, (ranked,) = metrics_lib.probabilities(logits)[0], metrics_lib.top_k(logits)
    listed = ranked.tolist()
    rows = ''.join(_answer_row(names[label], probabilities[label], label == true) for label in listed)
    if true not in listed:
        rows += _answer_row(names[true], probabilities[true], True)
    video_id, signer = report.clips.video_ids[clip], report.clips.signers[clip]
    by = f', signer {signer}' if signer else ''
    answer = f'True {html.long_text(names[true])}<br>predicted {html.long_text(names[listed[0]])}'
    title = f'{names[true]}, taken for {names[listed[0]]}'
    paths = ''.join(
        f'<path class="{kind} {group["style"]}" data-group="{number}"/>'
        for number, group in enumerate(drawn_groups(report.best.description))
        for kind in ('bones', 'points')
    )
    length = len(report.clips.landmarks[clip])
    last = len(_drawn_frames(length)) - 1
    description = f'Stick figure of clip {video_id}: {title}'
    return (
        f'<article class="clip"><h3>{answer}</h3>'
        f'<svg class="figure" viewBox="0 0 300 300" role="img" aria-label="{html.escape(description)}">{paths}</svg>'
        f'<div class="controls" role="group" aria-label="{html.escape(f"Clip {video_id}")}">'
        f'<button type="button"{"" if last else " disabled"}>Play</button>'
        f'<input type="range" min="0" max="{last}" value="0" aria-label="Frame"><output></output></div>'
        '<table><caption>Probabilities</caption>'
        f'<tbody>{rows}</tbody></table>'
        f'<p class="id">{html.escape(f"{video_id}{by}")}, {length} frames</p></article>'
    )


def _answer_row(name: str, probability: float, is_true: bool) -> str:
    mark = '✓ true: ' if is_true else ''
    bar = f'<span class="bar" style="width:{100 * probability:.1f}%"></span>'
    number = html.percent_cell(probability).to_html()
    return f'<tr><th scope="row">{mark}{html.long_text(name)}{bar}</th>{number}</tr>'


def drawn_groups(description: dataset_lib.Description) -> list[dict[str, Any]]:
    """Points and bones of each group, under the name and style of the signer's own."""
    layout = landmarks_lib.LAYOUTS[description.layout]
    on_signer = landmarks_lib.anatomical_order(layout, description.handedness)
    found = []
    for points in layout.groups.values():
        own = layout.group_of_point[on_signer[points[0]]]
        bones = [bone for bone in layout.bones if bone[0] in points]
        style, title = report_figures.color_class(own), figures.panel_title(own)
        found.append({'style': style, 'title': title, 'points': list(points), 'bones': bones})
    return found


def _drawn_frames(length: int) -> np.ndarray:
    """<int>[frames], the frames of a clip that are drawn: all, or so many at even distances."""
    return np.unique(np.linspace(0, length - 1, min(length, _MAX_FRAMES)).round().astype(int))


def drawn_clips(report: Report) -> dict[str, Any]:
    """The landmarks that the page draws, in units of `_UNIT`."""
    groups = [{name: group[name] for name in ('points', 'bones')} for group in drawn_groups(report.best.description)]
    return {'groups': groups, 'clips': [_drawn_clip(report.clips.landmarks[clip]) for clip in worst(report)]}


def _drawn_clip(landmarks: np.ndarray) -> dict[str, Any]:
    frames = _drawn_frames(len(landmarks))
    points = landmarks[frames][..., :2].astype(np.float64)
    is_missing = np.isnan(points).any(axis=-1, keepdims=True)
    numbers = np.where(is_missing, _MISSING, np.clip((points / _UNIT).round(), _MISSING + 1, -_MISSING - 1))
    return {
        'length': len(landmarks),
        'frames': (frames + 1).tolist(),
        'view': _view(points),
        'points': base64.b64encode(numbers.astype('<i2').tobytes()).decode(),
    }


def _view(points: np.ndarray) -> list[int]:
    """Left, top, width and height of what is drawn of the picture, in units of `_UNIT`.

    Points outside the picture are guesses of the landmark model, such as legs: they do not make it larger.
    """
    seen = points[np.isfinite(points).all(axis=-1)]
    if not len(seen):
        seen = np.array([[0.0, 0.0], [1.0, 1.0]])
    inside = seen[((seen >= 0) & (seen <= 1)).all(axis=-1)]
    low, high = (f(inside if len(inside) else seen, axis=0) for f in (np.min, np.max))
    margin = 0.05 * max(0.05, float((high - low).max()))
    corner, size = low - margin, high - low + 2 * margin
    return [int(number) for number in np.round(np.concatenate([corner, size]) / _UNIT)]
