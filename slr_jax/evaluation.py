"""Test numbers of a run, or of all runs of a workdir: accuracy with intervals, per class, predictions, confusion."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import os
from typing import Any

import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, figures, files, folds, frame_sizes, inference, models, progress, split_copies
from slr_jax import features as features_lib
from slr_jax import landmarks as landmarks_lib
from slr_jax import metrics as metrics_lib
from slr_jax import workdir as workdir_lib

# Unknown glosses that a message names, at most.
_NUM_NAMED = 8


class Evaluator:
    """Scores checkpoints of one workdir on one split, whose classes are those of the model with the same gloss.

    Args:
        workdir: of the run.
        split: of the dataset. With cross-validation, train and validation are what the run trained and validated on.
        dataset: TFDS directory, or None for that of the run.
        unknown_glosses: 'refuse', or 'leave_out' the clips of glosses that the model does not know.
        restrict: whether answers are chosen among the glosses of the dataset, and not among all of the model.

    Attributes:
        clips: that are tested, without copies of training clips; a label is an index of `label_names`.
        copies: clip -> the training clip that it is a copy of.
        label_names: the glosses that answers are chosen among, in the order of the model's classes.
        classes: <int>[glosses], their classes.
        left_out: gloss -> number of clips, of those that the model does not know.
        dataset_name: of the dataset.
        is_own_dataset: whether the model was trained on it, as far as its name says.
        note: what is to be said of the shape of its pictures, empty for nothing; see frame_sizes.compare.

    Raises:
        InputError: the dataset does not fit the model.
    """

    def __init__(
        self,
        workdir: str,
        split: str = 'test',
        dataset: str | None = None,
        *,
        unknown_glosses: str = 'refuse',
        restrict: bool = False,
    ) -> None:
        if unknown_glosses not in dataset_lib.UNKNOWN_GLOSSES:
            expected = ' or '.join(dataset_lib.UNKNOWN_GLOSSES)
            raise errors.InputError(f'unknown_glosses is {unknown_glosses!r}, expected {expected}')
        self.workdir, self.split, self.restrict = workdir, split, restrict
        self.config, self.description = workdir_lib.load_config(workdir)
        path = dataset or self.config.dataset
        if not path:
            raise errors.InputError(f'{workdir} is of an imported checkpoint: give the dataset to test on')
        loaded = dataset_lib.load_dataset(path)
        self.dataset_name = loaded.description.name
        # An imported checkpoint has none of its own.
        self.is_own_dataset = not self.config.dataset or self.dataset_name == self.description.name
        _check_fits(path, loaded.description, workdir, self.description)
        is_own = dataset is None or loaded.fingerprint() == workdir_lib.fingerprint(workdir)
        clips = self._find_clips(loaded, is_own=is_own)
        train = self._find_training_clips(loaded, is_own=is_own)
        self._signers_in_train = None
        if is_own and train is not None:
            self._signers_in_train = dataset_lib.signers_in_train(train.signers, clips.signers)
        self._match_glosses(path, loaded.description.label_names, clips, leave_out=unknown_glosses == 'leave_out')
        self._leave_out_copies(path, train)
        features = features_lib.Features.from_config(self.config, self.description.layout)
        sizes = self.clips.frame_sizes
        self.note = frame_sizes.compare(
            sizes, len(self.clips), self.description.frame_sizes, uses_shape=features.uses_shape
        )
        self._features, self._features_of_copies = (
            self._compute(features, clips) if len(clips) else [] for clips in (self.clips, self._copies)
        )
        idle = features.find_idle_groups(self._features)
        if len(idle) == len(features.fed_layout.groups):
            progress.report(f'warning: {path}: {features.describe_idle(idle, self.clips.landmarks, split)}')

    def _compute(self, features: features_lib.Features, clips: dataset_lib.Clips) -> list[np.ndarray]:
        aspects = self.description.aspects(clips.frame_sizes, len(clips))
        return features.compute_for_model(self.config, clips.landmarks, clips.video_ids, aspects)

    def _find_clips(self, loaded: dataset_lib.Dataset, *, is_own: bool) -> dataset_lib.Clips:
        self._fold: dict[str, int] = {}
        if not is_own or not self.config.num_folds or self.split == 'test':
            return loaded.split(self.split)
        self._fold = {'fold': self.config.fold, 'num_folds': self.config.num_folds}
        return folds.split(loaded, self.config)[self.split == 'validation']

    def _match_glosses(self, path: str, names: Sequence[str], clips: dataset_lib.Clips, *, leave_out: bool) -> None:
        known = list(self.description.label_names)
        matched = dataset_lib.match_glosses(names, known)
        counts = np.bincount(clips.labels, minlength=len(names)).tolist()
        columns = zip(names, counts, matched, strict=True)
        self.left_out = {name: count for name, count, found in columns if found is None and count}
        is_known = np.array([found is not None for found in matched])
        has_known = bool(is_known[clips.labels].any())
        if self.left_out and not (leave_out and has_known):
            unknown = _describe_unknown(self.left_out, known)
            hint = '; --unknown_glosses=leave_out tests on the others' if has_known else ', and no other gloss'
            raise errors.InputError(
                f'{path}: the {self.split} split has glosses that the model of {self.workdir} does not know: '
                f'{unknown}{hint}'
            )
        if self.left_out:
            clips = clips.take(np.flatnonzero(is_known[clips.labels]))
            num_clips, unknown = sum(self.left_out.values()), _describe_unknown(self.left_out, known)
            progress.report(f'left out: {num_clips} clips of glosses that the model does not know: {unknown}')
        # By number alone the dataset knows the glosses better than the model does.
        for name, found in zip(names, matched, strict=True):
            if found is not None:
                known[found] = name
        in_data = sorted({found for found in matched if found is not None})
        self.classes = np.array(in_data if self.restrict else range(len(known)))
        self.label_names = [known[label] for label in self.classes]
        positions = np.array([-1 if found is None else np.searchsorted(self.classes, found) for found in matched])
        self.clips = dataclasses.replace(clips, labels=positions[clips.labels].astype(np.int32))

    def _find_training_clips(self, loaded: dataset_lib.Dataset, *, is_own: bool) -> dataset_lib.Clips | None:
        """What the model was trained on; None where it is tested on just that, or where it cannot be found."""
        path = self.config.dataset
        try:
            if is_own and self.split == 'train':
                return None
            trained_on = loaded if is_own else dataset_lib.load_dataset(path)
            if self.config.num_folds:
                return folds.split(trained_on, self.config)[0]
            return trained_on.split('train')
        except errors.InputError as error:
            reason = error if path else 'the workdir does not say which they are'
            progress.report(f'the clips are not compared with those that the model was trained on: {reason}')
            return None

    def _leave_out_copies(self, path: str, train: dataset_lib.Clips | None) -> None:
        """Divides the clips into those that count and copies of training clips."""
        clips, layout = self.clips, landmarks_lib.LAYOUTS[self.description.layout]
        found = split_copies.find_copies(clips, train, layout) if train is not None else {}
        if found and len(found) == len(clips):
            raise errors.InputError(
                f'{path}: all {len(clips)} clips of the {self.split} split are copies of clips that the model of '
                f'{self.workdir} was trained on, expected others'
            )
        self.copies = {clips.video_ids[i]: train.video_ids[other] for i, (other, _) in found.items()} if train else {}
        self._copies = clips.take(list(found))
        if found:
            names = errors.first_of([names for _, names in found.values()])
            progress.report(
                f'{len(found)} of {len(clips)} {self.split} clips are copies of training clips and do not count: '
                f'{names}'
            )
            self.clips = clips.take([i for i in range(len(clips)) if i not in found])

    def logits(self, loaded: checkpoint_lib.LoadedModel) -> np.ndarray:
        """<float32>[clips, glosses] of one checkpoint of the workdir."""
        return self._predict(loaded, self._features)

    def _predict(self, loaded: checkpoint_lib.LoadedModel, features: Sequence[np.ndarray]) -> np.ndarray:
        logits = inference.predict_logits(inference.mapped_eval_step(loaded.model), loaded.params, features)
        return logits[:, self.classes]

    def _metrics_with_copies(self, loaded: checkpoint_lib.LoadedModel, logits: np.ndarray) -> dict[str, Any]:
        if not self.copies:
            return {}
        all_logits = np.concatenate([logits, self._predict(loaded, self._features_of_copies)])
        found = metrics_lib.compute_metrics(all_logits, np.concatenate([self.clips.labels, self._copies.labels]))
        kept = ('accuracy', 'accuracy_wilson95', 'top5', 'clips')
        return {'with_copies': {name: found[name] for name in kept if name in found}}

    def metrics(self, loaded: checkpoint_lib.LoadedModel, logits: np.ndarray) -> dict[str, Any]:
        """The content of metrics.json for the answers of one checkpoint."""
        return {
            **metrics_lib.compute_metrics(logits, self.clips.labels),
            'copies': self.copies,
            **self._metrics_with_copies(loaded, logits),
            'dataset': self.dataset_name,
            'split': self.split,
            **self._fold,
            'glosses': len(np.unique(self.clips.labels)),
            'chosen_among': len(self.classes),
            'model_glosses': self.description.num_classes,
            'left_out': self.left_out,
            'signers_in_train': self._signers_in_train,
            'checkpoint': loaded.step,
            'epoch': loaded.metrics['epoch'],
            'selected_by': loaded.selected_by,
            'parameters': models.count_parameters(loaded.params),
        }


def _check_fits(path: str, data: dataset_lib.Description, workdir: str, trained_on: dataset_lib.Description) -> None:
    for field, (found, expected) in dataset_lib.input_differences(data, trained_on).items():
        raise errors.InputError(f'{path}: {field} is {found}, but the model of {workdir} expects {expected}')


def _describe_unknown(names: Iterable[str], known: Sequence[str]) -> str:
    """The glosses that a model does not know, with those that may be meant."""
    names = list(names)
    similar = {name: dataset_lib.similar_gloss(name, known) for name in names[:_NUM_NAMED]}
    texts = [f'{name!r} (did you mean {close!r}?)' if close else repr(name) for name, close in similar.items()]
    text = ', '.join(texts) + (f' and {len(names) - _NUM_NAMED} more' if len(names) > _NUM_NAMED else '')
    if not dataset_lib.has_numbers_only(known):
        return text
    return f'{text} (its {len(known)} classes have numbers only; slr_jax.import_torch --label_names gives them glosses)'


def evaluate(
    workdir: str,
    split: str = 'test',
    checkpoint: str = 'best',
    dataset: str | None = None,
    output_dir: str | None = None,
    *,
    unknown_glosses: str = 'refuse',
    restrict: bool = False,
) -> dict[str, Any]:
    """Tests a run, or every run of a workdir of several.

    Writes metrics.json, predictions.csv, per_class.csv, confusion.csv and confusion.png. Of several runs, each is
    tested as one alone, in its own workdir or in a folder of its name in `output_dir`; beside that, runs.csv has a row
    per run, and metrics.json for each combination of swept values the mean over the seeds. Runs that diverged are left
    out. With cross-validation, the validation clips of all folds of a seed are counted together, each once.

    Args:
        workdir: of the run or runs.
        split: of the dataset.
        checkpoint: 'best', 'latest', a step, or 'published'.
        dataset: TFDS directory, or None for that of the run.
        output_dir: None for workdir/evaluation/<split>_<checkpoint>; of another dataset with its name before that, and
            with `_restricted` after it.
        unknown_glosses: 'refuse', or 'leave_out' the clips of glosses that the model does not know.
        restrict: whether answers are chosen among the glosses of the dataset, and not among all of the model.

    Returns:
        The content of metrics.json; of several runs: 'settings', each with what metrics.aggregate_runs gives, and
        'stopped', the reason for each run that diverged.

    Raises:
        InputError: see Evaluator and checkpoint.load_model.
    """
    options: dict[str, Any] = {'unknown_glosses': unknown_glosses, 'restrict': restrict}
    entries = workdir_lib.read_index(workdir)
    if not entries:
        evaluator = Evaluator(workdir, split, dataset, **options)
        _report_note(evaluator)
        metrics = _evaluate_run(evaluator, checkpoint, output_dir)
        _report_caveats([metrics])
        return metrics
    runs, diverged = workdir_lib.leave_out_diverged(entries)
    found = {}
    for run in runs:
        run_output = output_dir and os.path.join(output_dir, run.name)
        evaluator = Evaluator(workdir_lib.run_path(workdir, run.name), split, dataset, **options)
        found[run.name] = _evaluate_run(evaluator, checkpoint, run_output)
        progress.report(f'{run.name}: {describe(found[run.name])}')
    _report_note(evaluator)
    settings = _aggregate_settings(runs, found, checkpoint)
    summary = {'split': split, 'checkpoint': checkpoint, 'settings': settings, 'stopped': diverged}
    output_dir = output_dir or _default_output(workdir, evaluator, checkpoint)
    with files.replace_files_in(output_dir) as scratch:
        files.write_csv(os.path.join(scratch, 'runs.csv'), [_row(run, found[run.name]) for run in runs])
        files.write_json(os.path.join(scratch, 'metrics.json'), summary)
    progress.report(f'written to {output_dir}')
    _report_caveats(found.values())
    return summary


def _report_note(evaluator: Evaluator) -> None:
    if evaluator.note:
        progress.report(f'warning: dataset {evaluator.dataset_name}: {evaluator.note}')


def _report_caveats(metrics: Iterable[Mapping[str, Any]]) -> None:
    for sentence in dict.fromkeys(sentence for found in metrics for sentence in metrics_lib.caveats(found)):
        progress.report(f'warning: {sentence}')


def _row(run: workdir_lib.RunEntry, metrics: Mapping[str, Any]) -> dict[str, Any]:
    columns = ('accuracy', 'top5', 'mean_per_class_accuracy', 'loss', 'epoch', 'selected_by')
    setting = {'run': run.name, 'seed': run.seed, 'fold': run.fold, **run.swept}
    return setting | {name: metrics[name] for name in columns if name in metrics}


def _aggregate_settings(
    runs: Sequence[workdir_lib.RunEntry], metrics: Mapping[str, dict[str, Any]], checkpoint: str
) -> list[dict[str, Any]]:
    """The mean over the seeds of each combination of swept values, which is reported."""
    settings = []
    for name, same_values in workdir_lib.group_by_swept(runs).items():
        prefix = f'{name} | ' if name else ''
        found = aggregate(same_values, [metrics[run.name] for run in same_values])
        if found is None:
            progress.report(f'{prefix}a fold of every seed diverged: no accuracy over all folds')
            continue
        settings.append({**same_values[0].swept, **found})
        selected = f'; {metrics_lib.SELECTED_ON_FOLD}' if 'folds' in found and checkpoint == 'best' else ''
        progress.report(f'{prefix}{describe_runs(found)}{selected}')
    return settings


def aggregate(runs: Sequence[workdir_lib.RunEntry], metrics: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The mean over runs of the same values; None where they are folds, and some of each seed are lacking."""
    if metrics[0]['split'] != 'validation' or 'fold' not in metrics[0]:
        return metrics_lib.aggregate_runs([found['accuracy'] for found in metrics], metrics[0]['clips'])
    by_seed: dict[int | None, list[dict[str, Any]]] = {}
    for run, found in zip(runs, metrics, strict=True):
        by_seed.setdefault(run.seed, []).append(found)
    pooled = [
        metrics_lib.pool_folds([found['accuracy'] for found in seed], [found['clips'] for found in seed])
        for seed in by_seed.values()
        if len(seed) == seed[0]['num_folds']
    ]
    if not pooled:
        return None
    return {
        **metrics_lib.aggregate_runs([seed['accuracy'] for seed in pooled], int(pooled[0]['clips'])),
        'folds': pooled[0]['folds'],
        'fold_accuracy_mean': float(np.mean([seed['fold_accuracy_mean'] for seed in pooled])),
        'fold_accuracy_std': float(np.mean([seed['fold_accuracy_std'] for seed in pooled])),
    }


def _default_output(workdir: str, evaluator: Evaluator, checkpoint: str) -> str:
    other = '' if evaluator.is_own_dataset else f'{evaluator.dataset_name}_'
    restricted = '_restricted' if evaluator.restrict else ''
    path = os.path.join(workdir, 'evaluation', f'{other}{evaluator.split}_{checkpoint}{restricted}')
    files.check_below(path, workdir)
    return path


def _evaluate_run(evaluator: Evaluator, checkpoint: str, output_dir: str | None) -> dict[str, Any]:
    workdir = evaluator.workdir
    if checkpoint == 'published':
        metrics, logits, table = _published_protocol(evaluator)
    else:
        loaded = checkpoint_lib.load_model(workdir, checkpoint)
        logits, table = evaluator.logits(loaded), []
        metrics = evaluator.metrics(loaded, logits)
    output_dir = output_dir or _default_output(workdir, evaluator, checkpoint)
    with files.replace_files_in(output_dir) as scratch:
        if table:
            files.write_csv(os.path.join(scratch, 'published_protocol.csv'), table)
        _write(scratch, metrics, logits, evaluator)
    progress.report(f'written to {output_dir}')
    return metrics


def _published_protocol(evaluator: Evaluator) -> tuple[dict[str, Any], np.ndarray, list[dict[str, Any]]]:
    workdir, split = evaluator.workdir, evaluator.split
    if not evaluator.config.keep_published_checkpoints:
        raise errors.InputError(
            f'{workdir} did not keep the checkpoints that the published protocol tests: train with '
            'config.keep_published_checkpoints = True'
        )
    checkpoints = checkpoint_lib.Checkpoints(workdir)
    kept = checkpoints.metrics()
    by_step, table = {}, []
    for step in sorted(checkpoint_lib.published_steps(kept)):
        loaded = checkpoint_lib.restore_model(
            checkpoints, step, kept[step], evaluator.config, evaluator.description, 'its step'
        )
        logits = evaluator.logits(loaded)
        by_step[step] = evaluator.metrics(loaded, logits), logits
        accuracy = by_step[step][0]['accuracy']
        columns = ('epoch', 'train_accuracy', 'validation_accuracy')
        table.append({'step': step, **{name: kept[step].get(name) for name in columns}, f'{split}_accuracy': accuracy})
        progress.report(f'step {step}: {split} accuracy {accuracy:.4f}')
    best_step = max(by_step, key=lambda step: by_step[step][0]['accuracy'])
    metrics, logits = by_step[best_step]
    selected = checkpoint_lib.load_model(workdir, 'best')
    metrics['selected_by'] = f'the best of {len(by_step)} checkpoints on the {split} split itself (published protocol)'
    metrics['selected_on'] = split
    metrics['mean_over_checkpoints'] = float(np.mean([found['accuracy'] for found, _ in by_step.values()]))
    metrics['selected_on_validation'] = evaluator.metrics(selected, evaluator.logits(selected))
    return metrics, logits, table


def _write(directory: str, metrics: dict[str, Any], logits: np.ndarray, evaluator: Evaluator) -> None:
    clips, names, classes = evaluator.clips, evaluator.label_names, evaluator.classes
    best = metrics_lib.top_k(logits)
    probabilities = metrics_lib.probabilities(logits)
    confusion = metrics_lib.confusion_matrix(clips.labels, best[:, 0], len(names))
    predictions = []
    for video_id, label, likeliest, row_probabilities in zip(
        clips.video_ids, clips.labels, best, probabilities, strict=True
    ):
        row = {'video_id': video_id, 'label': classes[label], 'gloss': names[label]}
        for rank, predicted in enumerate(likeliest, start=1):
            row |= {f'predicted_{rank}': classes[predicted], f'gloss_{rank}': names[predicted]}
            row[f'probability_{rank}'] = f'{row_probabilities[predicted]:.6f}'
        predictions.append(row)
    files.write_json(os.path.join(directory, 'metrics.json'), metrics)
    files.write_csv(os.path.join(directory, 'predictions.csv'), predictions)
    files.write_csv(os.path.join(directory, 'per_class.csv'), _per_class(confusion, names, classes))
    header = ['true \\ predicted', *names]
    # Row by row: all of them are as many numbers as the square of the classes.
    rows = (dict(zip(header, [name, *row.tolist()], strict=True)) for name, row in zip(names, confusion, strict=True))
    files.write_csv(os.path.join(directory, 'confusion.csv'), rows, header)
    figures.save(figures.draw_confusion(confusion, names), os.path.join(directory, 'confusion'))


def _per_class(confusion: np.ndarray, names: Sequence[str], classes: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for row_number, (label, name) in enumerate(zip(classes, names, strict=True)):
        correct, clips = int(confusion[row_number, row_number]), int(confusion[row_number].sum())
        low, high = metrics_lib.wilson_interval(correct, clips)
        row = {'label': label, 'gloss': name, 'clips': clips, 'correct': correct}
        row['accuracy'] = f'{correct / clips:.6f}' if clips else ''
        rows.append(row | {'wilson95_low': f'{low:.6f}', 'wilson95_high': f'{high:.6f}'})
    return rows


def describe(metrics: dict[str, Any]) -> str:
    """One line for a person."""
    low, high = metrics['accuracy_wilson95']
    top5 = f'top-5 {metrics["top5"]:.2%}, ' if 'top5' in metrics else ''
    counts = [metrics[name] for name in ('glosses', 'chosen_among', 'model_glosses')]
    some = '' if len(set(counts)) == 1 else ' of {} glosses, chosen among {} of the {} of the model'.format(*counts)
    copies = ''
    if 'with_copies' in metrics:
        both = metrics['with_copies']
        copies = f'; {both["accuracy"]:.2%} of {both["clips"]} clips with the copies of training clips'
    return (
        f'{metrics["split"]} accuracy {metrics["accuracy"]:.2%} (95 % interval {low:.2%} to {high:.2%}), {top5}'
        f'{metrics["clips"]} clips{some}{copies}; checkpoint {metrics["checkpoint"]}, {metrics["selected_by"]}'
    )


def describe_runs(summary: dict[str, Any]) -> str:
    """One line for a person, of the runs that differ in their seed, or their fold and seed."""
    low, high = summary['accuracy_interval95']
    interval = f'95 % interval of {summary["interval"]} {low:.2%} to {high:.2%}, {summary["clips"]} clips'
    if 'folds' in summary:
        return (
            f'accuracy {summary["accuracy_mean"]:.2%} of {summary["folds"]} folds, each clip once, {interval}; between '
            f'folds {summary["fold_accuracy_mean"]:.2%}, standard deviation {summary["fold_accuracy_std"]:.2%}; seeds: '
            f'{summary["runs"]}, standard deviation {summary["accuracy_std"]:.2%}'
        )
    return (
        f'accuracy {summary["accuracy_mean"]:.2%} over {summary["runs"]} runs, standard deviation '
        f'{summary["accuracy_std"]:.2%}, {interval}'
    )
