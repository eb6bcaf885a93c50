"""Tests a model: accuracy with its intervals, per class, predictions and the confusion matrix.

    python -m slr_jax.evaluate --workdir=W [--split=test] [--checkpoint=best|latest|STEP|published]

`--checkpoint=published` repeats the published protocol: every kept checkpoint is scored on the split, and the best
score is reported, labelled as selected on it, beside the score of the one selected on validation.

A workdir of several runs has each of them tested, and their mean and standard deviation given.
"""

import os
from typing import Any

from absl import flags
import jax
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import cli, errors, figures, files, input_pipeline, models, train_lib
from slr_jax import dataset as dataset_lib
from slr_jax import metrics as metrics_lib
from slr_jax import runs as runs_lib


class Evaluator:
    """Scores checkpoints of one workdir on one split.

    Args:
        workdir: of the run.
        split: of the dataset.
        dataset: TFDS directory, or None for that of the run.

    Raises:
        InputError: the dataset does not fit the model.
    """

    def __init__(self, workdir: str, split: str = 'test', dataset: str | None = None) -> None:
        self.workdir = workdir
        config, description = checkpoint_lib.load_config(workdir)
        path = dataset or config.get('dataset')
        if not path:
            raise errors.InputError(f'{workdir} is of an imported checkpoint: give the dataset to test on')
        self.dataset = dataset_lib.load_dataset(path)
        _check_fits(path, self.dataset.description, workdir, description)
        self.clips = self.dataset.split(split)
        self._features = input_pipeline.prepare_features(self.clips, self.dataset.layout, config)
        self._eval_step = None

    def logits(self, loaded: checkpoint_lib.LoadedModel) -> np.ndarray:
        """<float32>[clips, classes] of one checkpoint of the workdir."""
        if self._eval_step is None:
            self._eval_step = train_lib.make_eval_step(loaded.model)
        return train_lib.predict_logits(self._eval_step, loaded.params, self._features)


def _check_fits(path: str, data: dataset_lib.Description, workdir: str, trained_on: dataset_lib.Description) -> None:
    for field in ('layout', 'num_classes', 'handedness'):
        found, expected = getattr(data, field), getattr(trained_on, field)
        if found != expected:
            raise errors.InputError(f'{path}: {field} is {found}, but the model of {workdir} expects {expected}')
    named = any(name != str(label) for label, name in enumerate(trained_on.label_names))
    for label, (found, expected) in enumerate(zip(data.label_names, trained_on.label_names, strict=True)):
        if named and found != expected:
            raise errors.InputError(
                f'{path}: class {label} is {found!r}, but the model of {workdir} expects {expected!r}'
            )


def evaluate(
    workdir: str,
    split: str = 'test',
    checkpoint: str = 'best',
    dataset: str | None = None,
    output_dir: str | None = None,
) -> dict[str, Any]:
    """Tests one checkpoint and writes metrics.json, predictions.csv, per_class.csv, confusion.csv and confusion.png.

    Args:
        workdir: of the run.
        split: of the dataset.
        checkpoint: 'best', 'latest', a step, or 'published'.
        dataset: TFDS directory, or None for that of the run.
        output_dir: None for workdir/evaluation/<split>_<checkpoint>.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: see Evaluator and checkpoint.load_model.
    """
    evaluator = Evaluator(workdir, split, dataset)
    if checkpoint == 'published':
        metrics, logits, table = _published_protocol(evaluator, split)
    else:
        loaded = checkpoint_lib.load_model(workdir, checkpoint)
        logits, table = evaluator.logits(loaded), None
        metrics = _metrics(loaded, logits, evaluator.clips, split)
    output_dir = output_dir or os.path.join(workdir, 'evaluation', f'{split}_{checkpoint}')
    with files.replace_files_in(output_dir) as scratch:
        if table:
            files.write_csv(os.path.join(scratch, 'published_protocol.csv'), table)
        _write(scratch, metrics, logits, evaluator)
    print(f'written to {output_dir}')
    return metrics


def evaluate_runs(
    workdir: str,
    split: str = 'test',
    checkpoint: str = 'best',
    dataset: str | None = None,
    output_dir: str | None = None,
) -> dict[str, Any]:
    """Tests every run of a workdir of several; see evaluate.

    Each run is tested as one alone is, in its own workdir or in a folder of its name in `output_dir`. Beside that,
    runs.csv has a row a run, and metrics.json for each setting of config.sweep the mean over its seeds. Runs that
    were stopped in training are left out, and listed.

    Returns:
        The content of metrics.json: 'settings', each with accuracy_mean, accuracy_std and accuracy_wilson95, and
        'stopped', the reason for each run that was.
    """
    runs, stopped = runs_lib.read_usable(workdir)
    found = {}
    for run in runs:
        where = output_dir and os.path.join(output_dir, run.name)
        found[run.name] = evaluate(run.workdir(workdir), split, checkpoint, dataset, where)
        print(f'{run.name}: {describe(found[run.name])}', flush=True)
    summary = {'split': split, 'checkpoint': checkpoint, 'settings': [], 'stopped': stopped}
    for name, of_setting in runs_lib.by_setting(runs).items():
        accuracies = [found[run.name]['accuracy'] for run in of_setting]
        clips = found[of_setting[0].name]['clips']
        summary['settings'].append({**of_setting[0].settings, **metrics_lib.summarize_runs(accuracies, clips)})
        print(describe_runs(summary['settings'][-1], f'{name} | ' if name else ''))
    names = ('accuracy', 'top5', 'mean_per_class_accuracy', 'loss', 'epoch', 'selected_by')
    rows = [
        {'run': run.name, 'seed': run.seed, **run.settings, **{name: found[run.name][name] for name in names}}
        for run in runs
    ]
    output_dir = output_dir or os.path.join(workdir, 'evaluation', f'{split}_{checkpoint}')
    with files.replace_files_in(output_dir) as scratch:
        files.write_csv(os.path.join(scratch, 'runs.csv'), rows)
        files.write_json(os.path.join(scratch, 'metrics.json'), summary)
    print(f'written to {output_dir}')
    return summary


def _metrics(
    loaded: checkpoint_lib.LoadedModel, logits: np.ndarray, clips: dataset_lib.Clips, split: str
) -> dict[str, Any]:
    return {
        **metrics_lib.summarize(logits, clips.labels),
        'split': split,
        'checkpoint': loaded.step,
        'epoch': loaded.metrics['epoch'],
        'selected_by': loaded.selected_by,
        'parameters': models.count_parameters(loaded.params),
    }


def _published_protocol(evaluator: Evaluator, split: str) -> tuple[dict[str, Any], np.ndarray, list[dict[str, Any]]]:
    workdir = evaluator.workdir
    config, _ = checkpoint_lib.load_config(workdir)
    if not config.get('keep_published_checkpoints'):
        raise errors.InputError(
            f'{workdir} did not keep the checkpoints that the published protocol tests: train with '
            'config.keep_published_checkpoints = True'
        )
    kept = checkpoint_lib.Checkpoints(workdir).metrics()
    by_step, table = {}, []
    for step in sorted(checkpoint_lib.published_steps(kept)):
        loaded = checkpoint_lib.load_model(workdir, step)
        logits = evaluator.logits(loaded)
        by_step[step] = _metrics(loaded, logits, evaluator.clips, split), logits
        columns = ('epoch', 'train_accuracy', 'validation_accuracy')
        table.append({'step': step, **{name: kept[step].get(name) for name in columns}})
        table[-1][f'{split}_accuracy'] = by_step[step][0]['accuracy']
        print(f'step {step}: {split} accuracy {by_step[step][0]["accuracy"]:.4f}', flush=True)
    best_step = max(by_step, key=lambda step: by_step[step][0]['accuracy'])
    metrics, logits = by_step[best_step]
    honest = checkpoint_lib.load_model(workdir, 'best')
    metrics['selected_by'] = f'the best of {len(by_step)} checkpoints on the {split} split itself (published protocol)'
    metrics['selected_on'] = split
    metrics['mean_over_checkpoints'] = float(np.mean([found['accuracy'] for found, _ in by_step.values()]))
    metrics['selected_on_validation'] = _metrics(honest, evaluator.logits(honest), evaluator.clips, split)
    return metrics, logits, table


def _write(directory: str, metrics: dict[str, Any], logits: np.ndarray, evaluator: Evaluator) -> None:
    clips, names = evaluator.clips, evaluator.dataset.description.label_names
    best = metrics_lib.best_classes(logits)
    probabilities = np.exp(metrics_lib.log_softmax(logits))
    confusion = metrics_lib.confusion_matrix(clips.labels, best[:, 0], len(names))
    predictions = []
    for video_id, label, classes, chances in zip(clips.video_ids, clips.labels, best, probabilities, strict=True):
        row = {'video_id': video_id, 'label': label, 'gloss': names[label]}
        for place, predicted in enumerate(classes, start=1):
            row |= {f'predicted_{place}': predicted, f'gloss_{place}': names[predicted]}
            row[f'probability_{place}'] = f'{chances[predicted]:.6f}'
        predictions.append(row)
    files.write_json(os.path.join(directory, 'metrics.json'), metrics)
    files.write_csv(os.path.join(directory, 'predictions.csv'), predictions)
    files.write_csv(os.path.join(directory, 'per_class.csv'), _per_class(confusion, names))
    header = ['true \\ predicted', *names]
    rows = ([name, *row] for name, row in zip(names, confusion.tolist(), strict=True))
    files.write_csv(
        os.path.join(directory, 'confusion.csv'), [dict(zip(header, row, strict=True)) for row in rows], header
    )
    figures.save(figures.draw_confusion(confusion, names), os.path.join(directory, 'confusion'))


def _per_class(confusion: np.ndarray, names: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for label, name in enumerate(names):
        correct, clips = int(confusion[label, label]), int(confusion[label].sum())
        low, high = metrics_lib.wilson_interval(correct, clips)
        row = {'label': label, 'gloss': name, 'clips': clips, 'correct': correct}
        row['accuracy'] = f'{correct / clips:.6f}' if clips else ''
        rows.append(row | {'wilson95_low': f'{low:.6f}', 'wilson95_high': f'{high:.6f}'})
    return rows


def describe(metrics: dict[str, Any]) -> str:
    """One line for a person."""
    low, high = metrics['accuracy_wilson95']
    return (
        f'{metrics["split"]} accuracy {metrics["accuracy"]:.2%} (95 % interval {low:.2%} to {high:.2%}), top-5 '
        f'{metrics["top5"]:.2%}, {metrics["clips"]} clips; checkpoint {metrics["checkpoint"]}, {metrics["selected_by"]}'
    )


def describe_runs(summary: dict[str, Any], name: str) -> str:
    """One line for a person, of one of the settings of evaluate_runs."""
    low, high = summary['accuracy_wilson95']
    return (
        f'{name}accuracy {summary["accuracy_mean"]:.2%} over {summary["runs"]} runs, standard deviation '
        f'{summary["accuracy_std"]:.2%}, 95 % interval {low:.2%} to {high:.2%} for {summary["clips"]} clips'
    )


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Of the run or runs, or of the imported checkpoint.', required=True)
    flags.DEFINE_enum('split', 'test', list(dataset_lib.SPLITS), 'Clips to test on.')
    flags.DEFINE_string(
        'checkpoint', 'best', 'best (by validation accuracy), latest, a step, or published (see above).'
    )
    flags.DEFINE_string('dataset', None, 'TFDS directory; by default that of the run.')
    flags.DEFINE_string('output_dir', None, 'By default W/evaluation/<split>_<checkpoint>.')


def main() -> None:
    """Tests as the flags say."""
    train_lib.use_compilation_cache()
    values = flags.FLAGS
    what = values.workdir, values.split, values.checkpoint, values.dataset, values.output_dir
    if runs_lib.read_index(values.workdir):
        evaluate_runs(*what)
        return
    metrics = evaluate(*what)
    print(f'{metrics["parameters"]:,} parameters, on {jax.local_devices()[0].device_kind}')
    print(describe(metrics))
    if 'selected_on_validation' in metrics:
        print(describe(metrics['selected_on_validation']))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
