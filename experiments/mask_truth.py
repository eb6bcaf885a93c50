"""Which rankings of points find the points that matter, where it is known which these are.

    python -m experiments.mask_truth [--quick] [--tasks=present,joint] [--output_dir=mask_truth]

Six planted tasks on a hand of 21 points, each drawn anew for every seed; class_query with its mask, small, is trained
on each, and every ranking of slr_jax.attribution is computed on validation clips. Writes runs.csv (a row per task, seed
and ranking), mask_truth.csv (means over seeds), mask_truth.md, and AUROC as a picture. An interrupted command goes on
when it is given again.

The tasks and the metrics follow Ismail et al. (2020), Arras et al. (2021) and Turbé et al. (2023).
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
import os
from typing import Any

from absl import flags
import jax
from matplotlib.figure import Figure
import ml_collections
import numpy as np

from configs import synthetic as synthetic_config
from experiments import markdown, results
from preprocessing import synthetic
from preprocessing.formats import tfds_writer
from slr_jax import attribution, checkpoint, cli, errors, files, masks, progress, runtime, train_lib
from slr_jax import dataset as dataset_lib
from slr_jax import landmarks as landmarks_lib
from slr_jax import metrics as metrics_lib

_LAYOUT = landmarks_lib.LAYOUTS['mediapipe_hand']
_NUM_POINTS, _NUM_FRAMES = _LAYOUT.num_points, 24
# Of the motion of a point, in image widths; and of the noise on it, in standard deviations of the motion.
_MOTION, _NOISE = 0.1, 0.1
_WINDOW = 8
# Clips of each split, over all classes.
_CLIPS = {'train': 480, 'validation': 96, 'test': 240}
_RECIPE = {'num_layers': 2, 'mlp_dim': 128, 'num_heads': 7, 'batch_size': 16, 'learning_rate': 0.002}
_METRICS = ('auroc', 'average_precision', 'precision_at_2', 'rank_accuracy', 'mass_accuracy')
_GOAL = 0.95


@dataclasses.dataclass(frozen=True)
class Task:
    """What is planted.

    Attributes:
        description: in words.
        num_classes: of the signs, and paths of every point.
        num_planted: points that are planted.
        num_epochs: of training.
        paths: of a generator, a label and the planted points, <int>[points], the path that each point follows.
        spread: of the motion of planted points and of the others, as a factor.
        are_copies: whether the planted points all move as the first of them.
        num_frames: in which points follow their paths, in one piece; in the others, a path that is drawn.
        is_true: whether a planted point says anything.
        seeds_factor: how many times as many seeds the task has as others.
    """

    description: str
    num_classes: int
    num_planted: int
    num_epochs: int
    paths: Callable[[np.random.Generator, int, int, np.ndarray], np.ndarray]
    spread: tuple[float, float] = (1.0, 1.0)
    are_copies: bool = False
    num_frames: int = _NUM_FRAMES
    is_true: bool = True
    seeds_factor: int = 1


def _each_by_label(rng: np.random.Generator, num_classes: int, label: int, planted: np.ndarray) -> np.ndarray:
    """Each planted point has the path of the label, for each other point one is drawn."""
    paths = rng.integers(0, num_classes, _NUM_POINTS)
    paths[planted] = label
    return paths


def _together_by_label(rng: np.random.Generator, num_classes: int, label: int, planted: np.ndarray) -> np.ndarray:
    """The paths of the planted points add up to the label, modulo the classes: all but one of them say nothing."""
    paths = rng.integers(0, num_classes, _NUM_POINTS)
    paths[planted[-1]] = (label - paths[planted[:-1]].sum()) % num_classes
    return paths


def _each_by_shuffled_label(rng: np.random.Generator, num_classes: int, label: int, planted: np.ndarray) -> np.ndarray:
    """Any path for each point: planted points that still moved together would differ from the others by that."""
    del label, planted
    return rng.integers(0, num_classes, _NUM_POINTS)


TASKS = {
    'present': Task('5 points, each of which says the class', 8, 5, 12, _each_by_label),
    'redundant': Task('a point that says the class, and 4 copies of it', 8, 5, 12, _each_by_label, are_copies=True),
    'joint': Task('2 points that say the class together only (XOR of two paths)', 2, 2, 20, _together_by_label),
    'variance': Task(
        'as present, with 0.1 × the variance of usual, and 10 × of the other points',
        *(8, 5, 20, _each_by_label),
        spread=(math.sqrt(0.1), math.sqrt(10)),
    ),
    'window': Task(
        f'as present, in {_WINDOW} of {_NUM_FRAMES} frames only', 8, 5, 20, _each_by_label, num_frames=_WINDOW
    ),
    'shuffled': Task(
        'as present, the labels shuffled for each planted point by itself: nothing is true',
        *(8, 10, 12, _each_by_shuffled_label),
        is_true=False,
        seeds_factor=4,
    ),
}
_TRUE_TASKS = [name for name, task in TASKS.items() if task.is_true]


def make_dataset(name: str, seed: int) -> dataset_lib.Dataset:
    """The clips of a task, all of 24 frames; the planted points are the dataset's informative points."""
    task, rng = TASKS[name], np.random.default_rng([list(TASKS).index(name), seed])
    planted = rng.choice(_NUM_POINTS, task.num_planted, replace=False)
    trajectories = synthetic.Trajectories(rng, task.num_classes, _NUM_POINTS)
    splits = [split for split, count in _CLIPS.items() for _ in range(count)]
    labels = np.concatenate([rng.permutation(np.arange(count) % task.num_classes) for count in _CLIPS.values()])
    clips = [_make_clip(rng, task, trajectories, planted, label) for label in labels]
    description = dataset_lib.Description(
        f'{name}_{seed}',
        _LAYOUT.name,
        [f'sign_{label}' for label in range(task.num_classes)],
        informative_points=sorted(planted.tolist()),
        source={'kind': 'mask_truth', 'task': name, 'seed': seed},
    )
    return dataset_lib.Dataset.from_clips(description, clips, labels, splits)


def _make_clip(
    rng: np.random.Generator, task: Task, trajectories: synthetic.Trajectories, planted: np.ndarray, label: int
) -> np.ndarray:
    time = np.linspace(0, 1, _NUM_FRAMES) + rng.uniform(-0.05, 0.05)
    motion = trajectories.positions(rng.integers(0, task.num_classes, _NUM_POINTS), time)
    start = rng.integers(0, _NUM_FRAMES - task.num_frames + 1)
    window = slice(start, start + task.num_frames)
    motion[window] = trajectories.positions(task.paths(rng, task.num_classes, label, planted), time)[window]
    if task.are_copies:
        motion[:, planted] = motion[:, planted[:1]]
    motion += rng.normal(0, _NOISE, motion.shape)
    spread = np.full(_NUM_POINTS, task.spread[1])
    spread[planted] = task.spread[0]
    clip = np.full((_NUM_FRAMES, _NUM_POINTS, 3), np.nan, np.float32)
    clip[..., :2] = 0.5 + 0.1 * np.array(_LAYOUT.figure) + _MOTION * spread[:, None] * motion
    return clip


# --- How true a ranking is


def score(importance: np.ndarray, is_planted: np.ndarray) -> dict[str, float]:
    """How well importances find the planted points; all from 0 to 1, more is better.

    Args:
        importance: <float>[points].
        is_planted: <bool>[points], k of them.

    Returns:
        auroc; average_precision, the mean of the precision at each planted point; precision_at_2, of the 2 most
        important points; rank_accuracy, of the k most important; mass_accuracy, the share of the planted points in what
        is positive of all importances (the last two by Arras et al., 2021). Ties stand in the order of the points.
    """
    found = is_planted[np.argsort(-importance, kind='stable')]
    precision = found.cumsum() / np.arange(1, len(found) + 1)
    positive = np.maximum(importance, 0)
    mass = positive.sum()
    return {
        'auroc': masks.auroc(importance, is_planted),
        'average_precision': float(precision[found].mean()),
        'precision_at_2': float(precision[1]),
        'rank_accuracy': float(precision[found.sum() - 1]),
        'mass_accuracy': float(positive[is_planted].sum() / mass) if mass else 0.0,
    }


def chance_deviation(num_points: int, num_planted: int, num_seeds: int) -> float:
    """The standard deviation of the mean AUROC over seeds where nothing is true (Mann & Whitney, 1947)."""
    others = num_points - num_planted
    return math.sqrt((num_points + 1) / (12 * num_planted * others * num_seeds))


# --- Runs


def _config(dataset: str, task: Task, seed: int, epochs: float) -> ml_collections.ConfigDict:
    config = synthetic_config.get_config()
    num_epochs = max(1, round(task.num_epochs * epochs))
    config.update({'dataset': dataset, 'seed': seed, 'num_epochs': num_epochs, **_RECIPE})
    return config


def run(name: str, seed: int, output_dir: str, epochs: float = 1.0) -> list[dict[str, Any]]:
    """Trains on a task and ranks its points; what was done before is read.

    Args:
        name: a key of TASKS.
        seed: of the data and of the training.
        output_dir: gets data/<task>_<seed>, runs/<task>_<seed>, and in the latter mask_truth.json.
        epochs: of training, as a factor.

    Returns:
        A row for each ranking.
    """
    workdir = os.path.join(output_dir, 'runs', f'{name}_{seed}')
    path = os.path.join(workdir, 'mask_truth.json')
    if os.path.isfile(path):
        return files.read_json(path, fields=['rows'])['rows']
    progress.report(f'--- {name}, seed {seed}')
    data_dir = os.path.join(output_dir, 'data')
    dataset_dir = os.path.join(data_dir, f'{name}_{seed}')
    dataset = make_dataset(name, seed)
    if not os.path.isdir(dataset_dir):
        tfds_writer.write_dataset(dataset, data_dir)
    train_lib.train_and_evaluate(_config(dataset_dir, TASKS[name], seed, epochs), workdir)
    loaded, test = checkpoint.load_model(workdir), dataset.split('test')
    accuracy = metrics_lib.compute_metrics(loaded.logits(test.landmarks), test.labels)['accuracy']
    is_planted = np.isin(np.arange(_NUM_POINTS), list(dataset.description.informative_points or ()))
    rows = []
    for ranking, rank in attribution.RANKINGS.items():
        importance = rank(loaded, dataset.split('validation'), seed)
        scores = score(importance.reshape(_NUM_POINTS, -1).mean(axis=1), is_planted)
        rows.append({'task': name, 'seed': seed, 'ranking': ranking, **scores, 'test_accuracy': accuracy})
        progress.report(f'{ranking}: AUROC {scores["auroc"]:.3f}')
    files.write_json(path, {'rows': rows})
    return rows


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each task and ranking: means, standard deviations of AUROC and accuracy, the least AUROC."""
    summary = []
    for task, ranking in dict.fromkeys((row['task'], row['ranking']) for row in rows):
        same = [row for row in rows if (row['task'], row['ranking']) == (task, ranking)]
        aurocs = [row['auroc'] for row in same]
        means = {metric: float(np.mean([row[metric] for row in same])) for metric in (*_METRICS, 'test_accuracy')}
        deviations = {
            f'{metric}_std': float(np.std([row[metric] for row in same], ddof=1)) if len(same) > 1 else 0.0
            for metric in ('auroc', 'test_accuracy')
        }
        spread = {**deviations, 'auroc_least': min(aurocs), 'seeds': len(same)}
        summary.append({'task': task, 'ranking': ranking, **means, **spread})
    return summary


# --- The page


_CAVEATS = """\
- Planted truth is easy: independent points, one hand, no missing frames, a model that learns the task. It says which
  rankings are wrong, not that one is right on recordings.
- The metrics may contradict each other, and metrics of removing points contradict those of planted truth
  (arXiv 2506.11790). `permutation` exchanges one point at a time: effects of several can cancel (arXiv 2506.05035).
- Only order is compared across rankings. `mass_accuracy` says little of `signed_mean` and `absolute`, whose weights all
  begin at 1.
- With copies, a model needs but one of them; those that it leaves are planted all the same.
- Where labels are shuffled and planted points still move together, the mask ranks them last: a model that learns clips
  by heart needs points that differ. So the planted points of `shuffled` move each by itself.
- The ranking with the best mean was chosen on this table; on other tasks it will be somewhat worse.
"""


def to_markdown(summary: Sequence[Mapping[str, Any]]) -> str:
    """The page: AUROC by ranking and task, the other metrics of each task's best, and what fails."""
    tasks = list(dict.fromkeys(row['task'] for row in summary))
    rankings = list(dict.fromkeys(row['ranking'] for row in summary))
    by_key = {(row['task'], row['ranking']): row for row in summary}
    cells = [
        [ranking, *(f'{by_key[t, ranking]["auroc"]:.3f} ± {by_key[t, ranking]["auroc_std"]:.3f}' for t in tasks)]
        for ranking in rankings
    ]
    best = {task: max((by_key[task, x] for x in rankings), key=lambda row: row['auroc']) for task in tasks}
    metric_cells = [[task, best[task]['ranking'], *(f'{best[task][x]:.3f}' for x in _METRICS)] for task in tasks]
    task_lines = [f'- **{task}**: {TASKS[task].description}; {_accuracy(best[task])}' for task in tasks]
    return '\n'.join(
        [
            '# Which rankings find the planted points\n',
            *task_lines,
            f'\nAUROC, mean ± standard deviation over {_describe_seeds(summary)}:\n',
            markdown.table(['ranking', *tasks], cells),
            'Every metric, of the ranking that has the best AUROC on the task:\n',
            markdown.table(['task', 'ranking', *_METRICS], metric_cells),
            *[f'- {line}' for line in verdicts(summary)],
            _CAVEATS,
        ]
    )


def _describe_seeds(summary: Sequence[Mapping[str, Any]]) -> str:
    tasks_by_seeds: dict[int, list[str]] = {}
    for row in summary:
        tasks = tasks_by_seeds.setdefault(row['seeds'], [])
        tasks += [row['task']] * (row['task'] not in tasks)
    if len(tasks_by_seeds) == 1:
        return f'{summary[0]["seeds"]} seeds'
    return ', '.join(f'{seeds} seeds ({", ".join(tasks)})' for seeds, tasks in tasks_by_seeds.items())


def _accuracy(row: Mapping[str, Any]) -> str:
    clips = _CLIPS['test'] * row['seeds']
    low, high = metrics_lib.mean_interval(row['test_accuracy'], row['test_accuracy_std'], row['seeds'], clips)
    kind = 'clips and seeds' if row['seeds'] > 1 else 'clips alone (Wilson)'
    return (
        f'test accuracy {row["test_accuracy"]:.1%} (95 % interval of {kind} {low:.1%} to {high:.1%}, '
        f'{clips} clips of all seeds)'
    )


def verdicts(summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """What holds and what fails, a sentence each."""
    auroc: dict[str, dict[str, float]] = {}
    for row in summary:
        auroc.setdefault(row['task'], {})[row['ranking']] = row['auroc']
    lines = []
    for task in (task for task in auroc if task in _TRUE_TASKS):
        failing = [f'{ranking} {value:.3f}' for ranking, value in auroc[task].items() if value < _GOAL]
        holds = 'holds' if max(auroc[task].values()) >= _GOAL else 'FAILS'
        below = ', '.join(failing) or 'none'
        lines.append(f'{task}: the goal, {_GOAL} by the best ranking, {holds}; below it: {below}.')
    true_tasks = [task for task in _TRUE_TASKS if task in auroc]
    if len(true_tasks) > 1:
        least = {ranking: min(auroc[task][ranking] for task in true_tasks) for ranking in auroc[true_tasks[0]]}
        best = max(least, key=lambda ranking: least[ranking])
        lines.append(f'{best} is the best on its worst of these tasks: {least[best]:.3f}.')
    if 'shuffled' in auroc:
        outside = [f'{ranking} {value:.3f}' for ranking, value in auroc['shuffled'].items() if abs(value - 0.5) > 0.05]
        seeds = next(row['seeds'] for row in summary if row['task'] == 'shuffled')
        deviation = chance_deviation(_NUM_POINTS, TASKS['shuffled'].num_planted, seeds)
        lines.append(
            f'shuffled: the goal is 0.5 ± 0.05; outside: {", ".join(outside) or "none"}. Chance alone spreads the mean '
            f'of {seeds} seeds with a standard deviation of {deviation:.3f}.'
        )
    return lines


def draw(summary: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean AUROC by ranking (row) and task (column)."""
    tasks = list(dict.fromkeys(row['task'] for row in summary))
    rankings = list(dict.fromkeys(row['ranking'] for row in summary))
    values = np.array([row['auroc'] for row in summary]).reshape(len(tasks), len(rankings)).T
    figure = Figure(figsize=(2.6 + 1.1 * len(tasks), 1 + 0.45 * len(rankings)), layout='constrained')
    ax = figure.subplots()
    image = ax.imshow(values, cmap='RdBu', vmin=0, vmax=1, aspect='auto')
    figure.colorbar(image, ax=ax, label='AUROC, 0.5 is chance')
    ax.set_xticks(range(len(tasks)), tasks)
    ax.set_yticks(range(len(rankings)), [ranking.replace('_', ' ') for ranking in rankings])
    for row, column in np.ndindex(*values.shape):
        color = 'white' if abs(values[row, column] - 0.5) > 0.3 else 'black'
        ax.text(column, row, f'{values[row, column]:.2f}', ha='center', va='center', color=color)
    ax.set_title('planted points found, mean over seeds')
    return figure


def compare(output_dir: str, tasks: Sequence[str], num_seeds: int, epochs: float = 1.0) -> list[dict[str, Any]]:
    """Runs tasks with seeds 0, 1, …; writes tables, page and picture; returns the rows of mask_truth.csv."""
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise errors.InputError(f'--tasks is {",".join(tasks)}, expected some of {", ".join(TASKS)}')
    rows = []
    for task in tasks:
        for seed in range(num_seeds * TASKS[task].seeds_factor):
            rows += run(task, seed, output_dir, epochs)
        # A process may hold some 80 compiled programs of a CPU.
        jax.clear_caches()
    summary = summarize(rows)
    tables = {'runs': rows, 'mask_truth': summary}
    results.write(output_dir, 'mask_truth', to_markdown(summary), tables, {'mask_truth': draw(summary)})
    return summary


def _define_flags() -> None:
    flags.DEFINE_list('tasks', list(TASKS), 'Tasks, of present, redundant, joint, variance, window and shuffled.')
    flags.DEFINE_integer(
        'num_seeds', None, 'Number of seeds, of shuffled 4 times as many; default: 10, with --quick 5.', lower_bound=1
    )
    flags.DEFINE_bool('quick', False, 'Whether to train with 5 seeds only.')
    flags.DEFINE_string('output_dir', 'mask_truth', 'Folder for the tables, datasets and runs.')


def main() -> None:
    """Compares as the flags say."""
    runtime.use_compilation_cache()
    values = flags.FLAGS
    compare(values.output_dir, values.tasks, values.num_seeds or (5 if values.quick else 10))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
