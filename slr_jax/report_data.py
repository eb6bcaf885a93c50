"""What a report says of a run, or of all runs of a workdir."""

from collections.abc import Mapping, Sequence
import dataclasses
import datetime
import glob
import os
import re
from typing import Any

import ml_collections
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, evaluation, files, input_pipeline, models, progress, run_log
from slr_jax import masks as masks_lib
from slr_jax import metrics as metrics_lib
from slr_jax import workdir as workdir_lib
from slr_jax.masks import Mask


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RunReport:
    """What is known of one run.

    Attributes:
        entry: its name and seed among the runs of the workdir; the name of the only run is ''.
        config: of the run.
        description: of the data that it was trained on.
        dataset: content of dataset.json; an imported checkpoint has no `clips` and `fingerprint` there.
        environment: content of environment.json, empty where there is none.
        began: when training began, None where it is not known.
        checkpoint: metrics of the selected checkpoint.
        rows: of metrics.csv, none where there is no such file.
        metrics: the numbers of metrics.json, of the tested split.
        logits: <float32>[clips, classes], the answers to the tested clips.
        masks: the learned masks, none of a model without.
    """

    entry: workdir_lib.RunEntry
    config: ml_collections.ConfigDict
    description: dataset_lib.Description
    dataset: Mapping[str, Any]
    environment: Mapping[str, Any]
    began: datetime.datetime | None
    checkpoint: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    metrics: dict[str, Any]
    logits: np.ndarray
    masks: Sequence[Mask]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What a page shows.

    Attributes:
        title: the name of the workdir.
        split: that the runs were tested on.
        runs: one, or several that did not diverge.
        best: the one whose details are shown.
        settings: for each combination of swept values its name, '' without any, and evaluation.aggregate.
        diverged: name -> reason.
        dataset: that the runs were tested on.
        is_training_data: whether it is the dataset that `best` was trained on.
        num_validation: clips that `best` was validated on, None without validation or where it is not known.
        clips: that `best` was tested on.
        label_names: gloss of each class.
    """

    title: str
    split: str
    runs: Sequence[RunReport]
    best: RunReport
    settings: Sequence[tuple[str, Mapping[str, Any]]]
    diverged: Mapping[str, str]
    dataset: dataset_lib.Dataset
    is_training_data: bool
    num_validation: int | None
    clips: dataset_lib.Clips
    label_names: Sequence[str]

    @property
    def predicted(self) -> np.ndarray:
        """<int>[clips], the likeliest class of each clip."""
        return metrics_lib.top_k(self.best.logits, 1)[:, 0]


def find_runs(workdir: str, dataset: str | None) -> tuple[list[workdir_lib.RunEntry], dict[str, str]]:
    """The runs of a workdir, and by name why others diverged; the only run of a workdir has the name ''.

    Args:
        workdir: of the run or runs.
        dataset: TFDS directory to test on, or None for that of the run.

    Raises:
        InputError: it is not a workdir, all runs diverged, or the dataset is not where it was.
    """
    entries, diverged = [workdir_lib.RunEntry('', {})], dict[str, str]()
    several = workdir_lib.read_index(workdir)
    if several:
        entries, diverged = workdir_lib.leave_out_diverged(several)
    for entry in entries:
        path = workdir_lib.run_path(workdir, entry.name)
        config, _ = workdir_lib.load_config(path)
        if config.dataset and not dataset and not os.path.isdir(config.dataset):
            raise errors.InputError(
                f'{config.dataset}, the dataset of {path}, is not a directory: give where it lies now as --dataset'
            )
    return entries, diverged


def gather(
    workdir: str,
    entries: Sequence[workdir_lib.RunEntry],
    diverged: Mapping[str, str],
    split: str,
    checkpoint: str,
    dataset: str | None,
    unknown_glosses: str = 'refuse',
) -> Report:
    """Tests runs and reads what their folders say; arguments as `find_runs` returns and `write_report` takes them."""
    runs, answered = [], {}
    for entry in entries:
        run, evaluator = _test(workdir, entry, split, checkpoint, dataset, unknown_glosses)
        progress.report(f'{entry.name} | {evaluation.describe(run.metrics)}'.removeprefix(' | '))
        runs.append(run)
        answered[entry.name] = evaluator.clips, evaluator.label_names
    best = max(runs, key=lambda run: checkpoint_lib.selection_key(run.checkpoint))
    clips, label_names = answered[best.entry.name]
    tested = dataset_lib.load_dataset(dataset or best.config.dataset)
    is_same = tested.fingerprint() == best.dataset.get('fingerprint')
    settings = []
    for swept, group in workdir_lib.group_by_swept(entries).items():
        found = evaluation.aggregate(group, [run.metrics for run in runs if run.entry in group])
        if found is not None:
            settings.append((swept, found))
    return Report(
        title=os.path.basename(os.path.abspath(workdir)),
        split=split,
        runs=runs,
        best=best,
        settings=settings,
        diverged=diverged,
        dataset=tested,
        is_training_data=is_same,
        num_validation=_num_validation(tested, best.config) if is_same else None,
        clips=clips,
        label_names=label_names,
    )


def _test(
    workdir: str,
    entry: workdir_lib.RunEntry,
    split: str,
    checkpoint: str,
    dataset: str | None,
    unknown_glosses: str,
) -> tuple[RunReport, evaluation.Evaluator]:
    path = workdir_lib.run_path(workdir, entry.name)
    evaluator = evaluation.Evaluator(path, split, dataset, unknown_glosses=unknown_glosses)
    loaded = checkpoint_lib.load_model(path, checkpoint)
    logits = evaluator.logits(loaded)
    has_mask = models.ENCODER_MASK in loaded.params
    run = RunReport(
        entry=entry,
        config=loaded.config,
        description=loaded.description,
        dataset=_read_json(os.path.join(path, 'dataset.json')),
        environment=_read_json(os.path.join(path, 'environment.json')),
        began=_began(path),
        checkpoint=loaded.metrics,
        rows=_read_rows(path),
        metrics=evaluator.metrics(loaded, logits),
        logits=logits,
        masks=masks_lib.model_masks(loaded) if has_mask else [],
    )
    return run, evaluator


def _read_json(path: str) -> dict[str, Any]:
    return files.read_json(path) if os.path.isfile(path) else {}


def _read_rows(workdir: str) -> list[run_log.Row]:
    """The rows of metrics.csv up to the latest checkpoint; none of an imported checkpoint."""
    path = os.path.join(workdir, 'metrics.csv')
    if not os.path.isfile(path):
        return []
    epochs = [int(metrics['epoch']) for metrics in checkpoint_lib.Checkpoints(workdir).metrics().values()]
    return run_log.read_rows(path, max(epochs))


def _began(workdir: str) -> datetime.datetime | None:
    """When training began, as the names of TensorBoard's files have it: they stay when files are copied."""
    names = glob.glob('events.out.tfevents.*', root_dir=os.path.join(workdir, 'tensorboard'))
    times = [int(found[1]) for name in names if (found := re.match(r'events\.out\.tfevents\.(\d+)', name))]
    return datetime.datetime.fromtimestamp(min(times), datetime.UTC) if times else None


def _num_validation(dataset: dataset_lib.Dataset, config: ml_collections.ConfigDict) -> int | None:
    _, validation = input_pipeline.training_clips(dataset, config)
    return len(validation) if validation is not None else None
