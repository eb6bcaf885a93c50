"""The page of a report: what it says, as HTML that needs no network."""

import base64
from collections.abc import Mapping, Sequence
import datetime
import hashlib
import importlib.resources
import json
import os
import string
from typing import Any

import numpy as np

import slr_jax
from slr_jax import config as config_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files, progress, report_answers, report_data, report_figures
from slr_jax import landmarks as landmarks_lib
from slr_jax import masks as masks_lib
from slr_jax import metrics as metrics_lib
from slr_jax import report_html as html
from slr_jax.masks import Mask
from slr_jax.report_data import Report, RunReport
from slr_jax.report_figures import Line

_NUM_SPREAD = 10
# Title of a column.
_SIGNIFICANT = 'beats its shadows'


def write_report(
    workdir: str,
    output: str | None = None,
    split: str = 'test',
    checkpoint: str = 'best',
    dataset: str | None = None,
    unknown_glosses: str = 'refuse',
) -> None:
    """Writes the page of a run, or of every run of a workdir of several.

    Args:
        workdir: of the run or runs; runs that diverged are named and left out.
        output: HTML file, None for workdir/report.html; one of that name is replaced.
        split: of the dataset.
        checkpoint: 'best', 'latest' or a step.
        dataset: TFDS directory, or None for that of the run.
        unknown_glosses: 'refuse', or 'leave_out' the clips of glosses that the model does not know.

    Raises:
        InputError: see evaluation.Evaluator and checkpoint.load_model; or the output cannot be written.
    """
    output = output or os.path.join(workdir, 'report.html')
    entries, diverged = report_data.find_runs(workdir, dataset)
    if os.path.isdir(output):
        raise errors.InputError(f'{output} is a directory, expected the path of an HTML file')
    directory, name = os.path.split(os.path.abspath(output))
    with files.replace_files_in(directory) as scratch:
        page = render(report_data.gather(workdir, entries, diverged, split, checkpoint, dataset, unknown_glosses))
        with open(os.path.join(scratch, name), 'w', encoding='utf-8') as file:
            file.write(page)
    progress.report(f'written to {output}, {os.path.getsize(output) / 1000:.0f} kB')


def render(report: Report) -> str:
    """The page, a whole HTML document."""
    sections = {
        'runs': ('Runs', _runs(report)),
        'accuracy': ('Accuracy', _accuracy(report)),
        'origin': ('What was trained on what', _origin(report)),
        'training': ('Training', _training(report)),
        'confusions': ('Confusions', report_answers.confusions(report)),
        'classes': ('Classes', report_answers.classes(report)),
        'mistakes': ('Worst mistakes', report_answers.mistakes(report)),
        'mask': ('Mask', _masks(report)),
    }
    if len(report.runs) == 1 and not report.diverged:
        del sections['runs']
    script = _template('report.js')
    best = report.best
    return string.Template(_template('report.html')).substitute(
        title=html.escape(f'{report.title}, {report.split} split'),
        heading=html.long_text(report.title),
        subtitle=f'{html.escape(best.config.model)} on {html.long_text(best.description.name)}, '
        f'tested on the {report.split} split',
        navigation=''.join(f'<li><a href="#{name}">{title}</a></li>' for name, (title, _) in sections.items()),
        sections='\n'.join(
            f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>\n{body}</section>'
            for name, (title, body) in sections.items()
        ),
        footer=f'Made by slr_jax {slr_jax.__version__} on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.',
        style=_template('report.css'),
        script=script,
        script_hash=f'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}',
        clips=_json(report_answers.drawn_clips(report)),
    )


def _template(name: str) -> str:
    return (importlib.resources.files('slr_jax') / 'templates' / name).read_text(encoding='utf-8')


def _json(content: Any) -> str:
    """JSON that cannot end the script element that it is in."""
    return json.dumps(content, separators=(',', ':')).replace('<', '\\u003c')


# --- Several runs


def _left_out(metrics: Mapping[str, Any]) -> str:
    names = metrics.get('left_out')
    return f'; {sum(names.values()):,} of {len(names)} glosses that the model does not know left out' if names else ''


def _name(run: RunReport) -> str:
    return run.entry.name or 'the run'


def _runs(report: Report) -> str:
    parts = [_aggregate(report)]
    if report.diverged:
        reasons = '; '.join(f'{html.escape(name)} ({html.escape(reason)})' for name, reason in report.diverged.items())
        parts.append(f'<p class="note">Left out, as they diverged: {reasons}.</p>')
    parts.append(_runs_table(report))
    parts.append(_overlaid_curves(report))
    parts.append(_mask_spread(report))
    return '\n'.join(parts)


def _aggregate(report: Report) -> str:
    rows = []
    for name, found in report.settings:
        low, high = found['accuracy_interval95']
        deviation = f'{html.percent(found["accuracy_std"])}' if found['runs'] > 1 else 'one run'
        cells = [
            html.percent_cell(found['accuracy_mean']),
            html.Cell(deviation, found['accuracy_std']),
            html.interval_cell(low, high),
            html.Cell(report_figures.draw_interval(found['accuracy_mean'], low, high)),
            html.count_cell(found['runs']),
        ]
        rows.append((html.escape(name or 'all runs'), cells))
    columns = ('setting', 'mean accuracy', 's.d.', '95 % interval', '0 to 100 %', 'runs')
    clips = report.settings[0][1]['clips'] if report.settings else report.best.metrics['clips']
    folds = next((found['folds'] for _, found in report.settings if 'folds' in found), None)
    pooled = f', every clip of {folds} folds counted once' if folds else ''
    kinds = ''.join(dict.fromkeys(f', of {found["interval"]}' for _, found in report.settings))
    caption = (
        f'Mean accuracy over seeds on the {report.split} split{pooled}, of {clips:,} clips, its sample standard '
        f'deviation (s.d.), and its 95 % interval{kinds}'
    )
    return html.sortable(caption, columns, rows)


def _runs_table(report: Report) -> str:
    rows = []
    for run in report.runs:
        found = run.metrics
        low, high = found['accuracy_wilson95']
        cells = [
            html.percent_cell(found['accuracy']),
            html.interval_cell(low, high),
            html.Cell(report_figures.draw_interval(found['accuracy'], low, high)),
            html.Cell(*_validation_accuracy(report, run)),
            html.Cell(f'{found["loss"]:.4f}', found['loss']),
            html.Cell(f'{found["epoch"]} of {len(run.rows)}' if run.rows else f'{found["epoch"]}', found['epoch']),
        ]
        rows.append((html.escape(run.entry.name), cells))
    split = report.split
    columns = (
        'run',
        f'{split} accuracy',
        '95 % interval',
        '0 to 100 %',
        'validation accuracy',
        f'{split} loss',
        'epoch',
    )
    chosen = report.runs.index(report.best)
    caption = f'Every run; {report.best.entry.name}, whose details follow, is {_how_chosen(report)}'
    return html.sortable(caption, columns, rows, chosen=chosen)


def _how_chosen(report: Report) -> str:
    if report.best.checkpoint.get('validation_accuracy') is None:
        return 'the first, as there was no validation'
    return f'the best by validation accuracy, not by {report.split} accuracy'


def _validation_accuracy(report: Report, run: RunReport) -> tuple[str, float]:
    """With its interval, which needs the number of clips; and what it is sorted by."""
    accuracy = run.checkpoint.get('validation_accuracy')
    if accuracy is None or not report.num_validation:
        return 'not known', -1.0
    interval = metrics_lib.wilson_interval(accuracy * report.num_validation, report.num_validation)
    return f'{html.percent(accuracy)} ({html.interval(*interval)})', accuracy


def _overlaid_curves(report: Report) -> str:
    if not report.best.rows:
        return ''
    has_validation = report.best.rows[-1]['validation_accuracy'] is not None
    split = 'validation' if has_validation else 'train'
    charts = []
    for name, top in ((f'{split}_accuracy', 1.0), ('train_loss', None)):
        ordered = [*(run for run in report.runs if run is not report.best), report.best]
        lines = [
            Line(_name(run), 'best' if run is report.best else 'other', points_of(run.rows, name)) for run in ordered
        ]
        words = name.replace('_', ' ')
        drawing = report_figures.draw_lines(lines, f'{words} of {len(lines)} runs over the epochs', top=top)
        charts.append(html.figure(drawing, f'{words} of every run'))
    legend = report_figures.draw_legend({'best': report.best.entry.name, 'other': 'the other runs'})
    return f'<h3>Curves of all runs</h3>{legend}<div class="columns">{"".join(charts)}</div>'


def _mask_spread(report: Report) -> str:
    same = [run for run in report.runs if run.entry.swept == report.best.entry.swept and run.masks]
    if len(same) < 2:
        return ''
    parts = []
    for masks in zip(*(run.masks for run in same), strict=True):
        names = [run.entry.name for run in same]
        table = sorted(masks_lib.spread_table(masks, names), key=lambda row: -row['mean'])[:_NUM_SPREAD]
        low, high = (f(row[name] for row in table for name in names) for f in (min, max))
        rows = []
        for row in table:
            values = [row[name] for name in names]
            cells = [
                html.Cell(html.escape(row['group'].replace('_', ' '))),
                html.Cell(f'{row["mean"]:.3f}', row['mean']),
                html.Cell(f'{row["std"]:.3f}', row['std']),
                html.Cell(f'{min(values):.3f} to {max(values):.3f}'),
                html.Cell(report_figures.draw_spread(values, low, high)),
            ]
            cells += [html.Cell('yes' if row['significant'] else '')] if 'significant' in row else []
            rows.append((html.escape(row['point']), cells))
        caption = f'{_mask_name(masks[0])} over {len(same)} seeds: the {len(rows)} points of the largest mean weight'
        columns = ['point', 'group', 'mean weight', 's.d.', 'from, to', f'{low:.3f} to {high:.3f}']
        columns += [_SIGNIFICANT] * ('significant' in table[0])
        parts.append(html.sortable(caption, columns, rows))
    return f'<h3>Spread of the mask</h3>{"".join(parts)}'


# --- One run: accuracy, origin, training


def _accuracy(report: Report) -> str:
    found = report.best.metrics
    accuracy, (low, high) = found['accuracy'], found['accuracy_wilson95']
    whose = f'Of {html.escape(report.best.entry.name)}: ' if len(report.runs) > 1 else ''
    chance = f'{100 / len(report.label_names):.1f} %'
    rows = [
        ('Tested on', f'{found["clips"]:,} clips of the {report.split} split{_left_out(found)}'),
        ('Checkpoint', f'step {found["checkpoint"]}, epoch {found["epoch"]}, {html.escape(found["selected_by"])}'),
    ]
    if report.num_validation:
        rows.append(('Validation accuracy there', _validation_accuracy(report, report.best)[0]))
    if 'top5' in found:
        top5_interval = metrics_lib.wilson_interval(found['top5'] * found['clips'], found['clips'])
        text = f'{html.percent(found["top5"])}, 95 % interval {html.interval(*top5_interval)}'
        rows.append(('Among the five likeliest', text))
    rows += [
        ('By guessing', f'{chance}, one of {len(report.label_names)} classes'),
        ('Cross-entropy loss', html.number(found['loss'], f'{found["loss"]:.4f}')),
        ('Parameters', f'{found["parameters"]:,}'),
    ]
    return (
        f'<p class="headline"><strong>{html.percent(accuracy)}</strong>'
        f'{report_figures.draw_interval(accuracy, low, high)}'
        f'<span>{whose}95 % interval {html.interval(low, high)} (Wilson)</span></p>'
        f'{_caveat(report)}{html.facts("How it was measured", rows)}'
    )


def _caveat(report: Report) -> str:
    """What makes the accuracy too high."""
    notes = [f'{sentence[0].upper()}{sentence[1:]}.' for sentence in metrics_lib.caveats(report.best.metrics)]
    if report.is_training_data and report.split == 'train':
        notes.append('These clips were trained on: the accuracy on others is lower.')
    if report.is_training_data and report.split == 'validation' and report.best.config.validation == 'split':
        notes.append('These clips chose the checkpoint: the accuracy on others is likely lower.')
    return ''.join(f'<p class="note">{html.escape(note)}</p>' for note in notes)


def _origin(report: Report) -> str:
    best, trained_on = report.best, report.best.description
    layout = landmarks_lib.LAYOUTS[trained_on.layout]
    rows = [
        ('Dataset', html.long_text(trained_on.name)),
        ('Layout', f'{html.escape(layout.name)}, {layout.num_points} points'),
        ('Classes', _glosses(trained_on.label_names)),
    ]
    if 'right_hand' in layout.groups:
        rows.append(('Handedness', _HANDEDNESS[trained_on.handedness]))
    clips = best.dataset.get('clips')
    if report.is_training_data:
        rows += _splits(report.dataset)
    elif clips:
        rows.append(('Clips', ', '.join(f'{html.escape(split)} {count:,}' for split, count in clips.items())))
    if trained_on.source:
        source = ', '.join(f'{name}: {value}' for name, value in trained_on.source.items() if value not in (None, {}))
        rows.append(('Source', html.escape(source)))
    if best.dataset.get('fingerprint'):
        rows.append(('Fingerprint', f'<code>{html.escape(best.dataset["fingerprint"][:16])}</code>…'))
    parts = [html.facts(f'Data trained {"and tested " if report.is_training_data else ""}on', rows)]
    if not report.is_training_data:
        other = [('Dataset', html.long_text(report.dataset.description.name)), *_splits(report.dataset)]
        parts.append(html.facts('Data tested on, which is not the same', other))
    parts.append(html.facts('Run', _run_rows(best)))
    parts.append(_config(best))
    parts.append(
        html.facts('Versions', [(name, html.escape(_listed(value))) for name, value in best.environment.items()])
    )
    return f'<div class="origin">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


_HANDEDNESS = {
    'signer': "right_hand is the signer's right hand",
    'swapped': "right_hand is the signer's left hand, as in the published data",
}


def _glosses(names: Sequence[str]) -> str:
    listed = ' · '.join(f'<bdi>{html.escape(name)}</bdi>' for name in names)
    return f'<details><summary>{len(names)}</summary>{listed}</details>'


def _splits(dataset: dataset_lib.Dataset) -> list[tuple[str, str]]:
    rows = []
    for split, clips in dataset.splits.items():
        shortest, longest = (f(len(clip) for clip in clips.landmarks) for f in (min, max))
        lengths = f'{shortest} to {longest}' if shortest < longest else f'{longest}'
        signers = len(set(clips.signers) - {''})
        text = f'{len(clips):,} clips of {lengths} frames, '
        text += f'{signers} {"signer" if signers == 1 else "signers"}, ' if signers else 'signers not known, '
        rows.append((split.capitalize(), f'{text}{100 * clips.missing_fraction:.1f} % of points missing'))
    return rows


def _run_rows(run: RunReport) -> list[tuple[str, str]]:
    rows = [('Model', html.escape(run.config.model))]
    if not run.rows:
        return [*rows, ('Training', 'no metrics.csv, as of an imported checkpoint')]
    planned = '' if run.config.num_steps else f' of {run.config.num_epochs} planned'
    epochs = f'{len(run.rows)}{planned}, {run.rows[-1]["step"]:,} steps'
    rows += [('Seed', str(run.config.seed)), ('Epochs', epochs)]
    if run.began:
        rows.append(('Training began', f'{run.began:%Y-%m-%d %H:%M} UTC'))
    return rows


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return '; '.join(f'{name} {_listed(part)}' for name, part in value.items())
    return ', '.join(map(_listed, value)) if isinstance(value, list) else str(value)


def _config(run: RunReport) -> str:
    rows = []
    for field, default in config_lib.default_config().items():
        value = run.config[field]
        if field not in ('dataset', 'seed', 'sweep') and value != default:
            soft = f'<span class="soft">(default {html.escape(default)})</span>'
            rows.append((field, f'<code>{html.escape(value)}</code> {soft}'))
    return html.facts('Config fields that differ from their defaults', rows or [('none', 'the published protocol')])


def points_of(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """(epoch, value) where there is a finite value."""
    pairs = [(float(row['epoch']), row[name]) for row in rows]
    return [(epoch, float(value)) for epoch, value in pairs if value is not None and np.isfinite(value)]


def _training(report: Report) -> str:
    run = report.best
    if not run.rows:
        return '<p>No curves: the workdir has no metrics.csv, as that of an imported checkpoint.</p>'
    epoch = run.checkpoint['epoch']
    charts = []
    for name, top in (('loss', None), ('accuracy', 1.0)):
        lines = [Line(split, split, points_of(run.rows, f'{split}_{name}')) for split in ('train', 'validation')]
        ends = ', '.join(f'{line.name} {line.points[-1][1]:.3f}' for line in lines if line.points)
        description = f'{name} over {len(run.rows)} epochs; at the end {ends}'
        drawing = report_figures.draw_lines(lines, description, top=top, marked=epoch)
        charts.append(html.figure(drawing, f'{name.capitalize()} of each epoch'))
    names = {'train': 'train, as trained on (with noise and dropout)', 'validation': 'validation'}
    if run.rows[-1]['validation_accuracy'] is None:
        del names['validation']
    legend = report_figures.draw_legend(names | {'marked': f'the tested checkpoint, epoch {epoch}'})
    clips = f' {report.num_validation:,} clips validate.' if report.num_validation else ''
    note = f'<p class="soft">A curve is of one run and has no interval.{clips}</p>'
    return f'{legend}<div class="columns">{"".join(charts)}</div>{note}'


def _mask_name(mask: Mask) -> str:
    return mask.name.replace('_', ' ')


def _masks(report: Report) -> str:
    best = report.best
    if not best.masks:
        name = html.escape(best.config.model)
        return f'<p>Left out: {name} has no learned mask; {masks_lib.WITH_MASK} have one.</p>'
    return ''.join(_mask(mask, masks_lib.informative_points(best.description, mask.layout)) for mask in best.masks)


def _mask(mask: Mask, informative: Sequence[int] | None) -> str:
    significant = None if mask.significant is None else mask.on_signer(mask.significant)
    panels = ''.join(
        html.figure(drawing, html.escape(title))
        for title, drawing in report_figures.draw_mask(mask.anatomical_weights, mask.layout, significant)
    )
    parts = [
        f'<h3>The {_mask_name(mask)}</h3><p>A point counts the more, the larger its dot: the learned weight of its '
        f'coordinates, 1 before training. The {report_figures.NUM_LABELED} heaviest have their number in the group '
        'and their weight. As the viewer sees the signer.</p>'
        f'<div class="columns">{panels}</div>'
    ]
    if significant is not None:
        num_significant = int(significant.sum())
        parts.append(
            f'<p>{html.number(num_significant, str(num_significant))} of {len(significant)} points, those '
            'with a ring, beat their shadows, tracks of other clips that cannot matter, at a false discovery rate of '
            f'{masks_lib.SIGNIFICANT}.</p>'
        )
    if mask.point_gates is not None:
        num_open = int(np.count_nonzero(mask.point_gates))
        parts.append(
            f'<p>{html.number(num_open, str(num_open))} of {mask.layout.num_points} points have an open gate, which is '
            'in their weight; the model does not see the others.</p>'
        )
    if informative is not None:
        is_informative = np.isin(np.arange(mask.layout.num_points), informative)
        auroc = masks_lib.auroc(mask.point_weights, is_informative)
        parts.append(
            f'<p>In this synthetic dataset {len(informative)} points differ between the classes; the mask finds them '
            f'with an AUROC of {html.number(auroc, f"{auroc:.3f}")} (0.5 by chance, 1 at best).</p>'
        )
    table = sorted(masks_lib.point_table(mask, informative), key=lambda row: row['rank'])
    # Column of the table -> column of the page.
    answers = {'significant': _SIGNIFICANT, 'informative': 'informative'}
    answers = {name: title for name, title in answers.items() if name in table[0]}
    columns = ['point', 'rank', 'weight', 'group', *answers.values()]
    rows = []
    for row in table:
        cells = [html.count_cell(int(row['rank'])), html.Cell(f'{row["weight"]:.3f}', row['weight'])]
        cells.append(html.Cell(html.escape(row['group'].replace('_', ' '))))
        cells += [html.Cell('yes' if row[name] else '') for name in answers]
        rows.append((html.escape(row['point']), cells))
    weights = html.sortable(f'Weights of the {_mask_name(mask)}', columns, rows)
    parts.append(f'<details><summary>The weights of all points</summary>{weights}</details>')
    return ''.join(parts)
