"""What the learned mask says: tables and pictures.

    python -m slr_jax.interpret --workdir=W --output_dir=O
    python -m slr_jax.interpret --mask_csv=WEIGHTS_SRC_wlasl100.csv --output_dir=O

Hands are named as the signer's own right and left, whatever the columns are called. A point's weight is the mean of
those of its coordinates, as published. A workdir of several runs gives a folder for each of them, and the mean of their
masks, with the standard deviation of each point over the runs.
"""

from collections.abc import Sequence
import csv
import dataclasses
import os
from typing import Any

from absl import flags
import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import cli, errors, figures, files
from slr_jax import landmarks as landmarks_lib
from slr_jax import runs as runs_lib


@dataclasses.dataclass(frozen=True)
class Mask:
    """A learned mask.

    Attributes:
        name: encoder_mask or decoder_mask.
        weights: <float64>[points, axes]; of a published file one weight a point, [points, 1].
        layout: of the points.
        handedness: one of landmarks.HANDEDNESS.
    """

    name: str
    weights: np.ndarray
    layout: landmarks_lib.Layout
    handedness: str

    @property
    def point_weights(self) -> np.ndarray:
        """<float64>[points], the mean over a point's coordinates."""
        return self.weights.mean(axis=1)

    @property
    def anatomical_order(self) -> tuple[int, ...]:
        """For each point, the point of the layout that it is on the signer: its name, group and place."""
        return landmarks_lib.anatomical_order(self.layout, self.handedness)

    @property
    def anatomical_weights(self) -> np.ndarray:
        """<float64>[points], the weight of each point of the layout on the signer."""
        weights = np.empty(self.layout.num_points)
        weights[list(self.anatomical_order)] = self.point_weights
        return weights


def masks_of_model(loaded: checkpoint_lib.LoadedModel) -> list[Mask]:
    """The learned masks of a model; InputError where it has none."""
    layout = loaded.layout
    masks = [
        Mask(
            name,
            np.asarray(loaded.params[name], np.float64).reshape(layout.num_points, -1),
            layout,
            loaded.description.handedness,
        )
        for name in ('encoder_mask', 'decoder_mask')
        if name in loaded.params
    ]
    if not masks:
        raise errors.InputError(
            f'the model is {loaded.config.model}, which has no learned mask; class_query and sequence_query have one'
        )
    return masks


def mean_masks(of_runs: Sequence[Sequence[Mask]]) -> list[Mask]:
    """The mean over runs of each of their masks; InputError where they are not of one kind."""
    kinds = {tuple((mask.name, mask.layout.name, mask.handedness, mask.weights.shape) for mask in of) for of in of_runs}
    if len(kinds) > 1:
        raise errors.InputError(f'the runs have masks of {len(kinds)} kinds, expected one; interpret them one by one')
    return [
        dataclasses.replace(masks[0], weights=np.mean([mask.weights for mask in masks], axis=0))
        for masks in zip(*of_runs, strict=True)
    ]


def spread_table(masks: Sequence[Mask], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a point: column, the signer's own point and group, mean and sample standard deviation, and each run."""
    weights = np.array([mask.point_weights for mask in masks])
    deviations = weights.std(axis=0, ddof=1) if len(masks) > 1 else np.zeros(weights.shape[1])
    return [
        {
            **_name_point(masks[0], point),
            'mean': weights[:, point].mean(),
            'std': deviations[point],
            **dict(zip(names, weights[:, point], strict=True)),
        }
        for point in range(weights.shape[1])
    ]


def read_mask_csv(path: str, handedness: str = 'swapped') -> Mask:
    """Reads a published weights file: `;`-separated, a header of point names, one row of weights.

    Raises:
        InputError: the file is no such file.
    """
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = [row for row in csv.reader(file, delimiter=';') if row]
    except (UnicodeDecodeError, csv.Error):
        raise errors.InputError(f'{path} is no table, expected point names and weights with ; between them') from None
    if len(rows) != 2:
        raise errors.InputError(f'{path} has {len(rows)} rows, expected a header of point names and one row of weights')
    layout = next((x for x in landmarks_lib.LAYOUTS.values() if list(x.point_columns) == rows[0]), None)
    if layout is None:
        raise errors.InputError(f'{path}: the {len(rows[0])} columns from {rows[0][0]!r} on are those of no layout')
    try:
        weights = np.array(rows[1], np.float64)
    except ValueError as error:
        raise errors.InputError(f'{path}, row 2: {error}') from error
    if weights.size != layout.num_points or not np.isfinite(weights).all():
        raise errors.InputError(f'{path}, row 2: expected {layout.num_points} finite weights')
    return Mask('encoder_mask', weights[:, None], layout, handedness)


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """How well scores set positives apart: the chance that a positive scores above a negative, ties half.

    Args:
        scores: <float>[n].
        positive: <bool>[n].

    Returns:
        In [0, 1], 0.5 for chance; NaN unless there are both.
    """
    if positive.all() or not positive.any():
        return float('nan')
    difference = scores[positive][:, None] - scores[~positive][None, :]
    return float((np.sign(difference) / 2 + 0.5).mean())


def _ranks(weights: np.ndarray) -> np.ndarray:
    """1 for the largest; ties in their order."""
    ranks = np.empty(len(weights), int)
    ranks[np.argsort(-weights, kind='stable')] = np.arange(1, len(weights) + 1)
    return ranks


def point_table(mask: Mask, informative_points: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """A row per point: column, the signer's own point and group, weight and rank, and whether it is informative."""
    rows = []
    for point, rank in enumerate(_ranks(mask.point_weights)):
        row = {**_name_point(mask, point), 'weight': mask.point_weights[point], 'rank': rank}
        rows.append(row if informative_points is None else row | {'informative': int(point in informative_points)})
    return rows


def _name_point(mask: Mask, point: int) -> dict[str, str]:
    layout, on_signer = mask.layout, mask.anatomical_order[point]
    return {
        'column': layout.point_columns[point],
        'point': layout.points[on_signer],
        'group': layout.group_of_point[on_signer],
    }


def coordinate_table(mask: Mask) -> list[dict[str, Any]]:
    """A row a coordinate: column, the signer's own point and group, axis, weight and rank."""
    ranks = _ranks(mask.weights.ravel()).reshape(mask.weights.shape)
    return [
        {
            **_name_point(mask, point),
            'axis': 'xyz'[axis],
            'weight': mask.weights[point, axis],
            'rank': ranks[point, axis],
        }
        for point, axis in np.ndindex(*mask.weights.shape)
    ]


def write_published(path: str, mask: Mask) -> None:
    """Writes the published format: a header of point names and one row of weights, `;` between them."""
    with files.atomic_write(path) as file:
        writer = csv.writer(file, delimiter=';', lineterminator='\n')
        writer.writerows([mask.layout.point_columns, mask.point_weights.tolist()])


def interpret(
    masks: Sequence[Mask], output_dir: str, title: str, informative_points: Sequence[int] | None = None
) -> None:
    """Writes the tables and pictures of a model's masks and prints what matters most.

    Args:
        masks: of one model.
        output_dir: for every mask: points.csv, coordinates.csv (where the mask has them), WEIGHTS_SRC_<title>.csv, bars
            and figure as PNG and SVG; of the decoder's mask with `decoder_` before the name; auroc.json with
            `informative_points`.
        title: of the experiment.
        informative_points: in synthetic data, the points that tell the classes apart.
    """
    found = {}
    with files.replace_files_in(output_dir) as scratch:
        for mask in masks:
            prefix = '' if mask.name == 'encoder_mask' else 'decoder_'
            table = point_table(mask, informative_points)
            files.write_csv(os.path.join(scratch, f'{prefix}points.csv'), table)
            if mask.weights.shape[1] > 1:
                files.write_csv(os.path.join(scratch, f'{prefix}coordinates.csv'), coordinate_table(mask))
            write_published(os.path.join(scratch, f'{prefix}WEIGHTS_SRC_{title}.csv'), mask)
            what = f'{title}, {mask.name.replace("_", " ")}'
            for name, draw in (('bars', figures.draw_bars), ('figure', figures.draw_body_and_hands)):
                figures.save(draw(mask.anatomical_weights, mask.layout, what), os.path.join(scratch, prefix + name))
            top = sorted(table, key=lambda row: row['rank'])[:5]
            print(f'{mask.name}: ' + ', '.join(f'{row["point"]} {row["weight"]:.3f}' for row in top))
            if informative_points is not None:
                informative = np.isin(np.arange(len(table)), informative_points)
                found[mask.name] = auroc(mask.point_weights, informative)
                print(f'{mask.name} finds the informative points with AUROC {found[mask.name]:.3f}')
        if found:
            files.write_json(os.path.join(scratch, 'auroc.json'), found)
    print(f'written to {output_dir}')


def interpret_runs(workdir: str, output_dir: str, checkpoint: str = 'best') -> None:
    """Interprets every run of a workdir of several, and the mean mask of the runs of each setting.

    Runs that were stopped in training are left out.

    Args:
        workdir: of the runs.
        output_dir: gets a folder a run; and for the mean, in a folder of the setting's name where config.sweep has
            several, the files of `interpret` and runs.csv.
        checkpoint: of each run: best, latest or a step.
    """
    title = os.path.basename(os.path.abspath(workdir))
    usable, _ = runs_lib.read_usable(workdir)
    for setting, runs in runs_lib.by_setting(usable).items():
        of_runs = []
        for run in runs:
            loaded = checkpoint_lib.load_model(run.workdir(workdir), checkpoint)
            of_runs.append(masks_of_model(loaded))
            informative = loaded.description.informative_points
            interpret(of_runs[-1], os.path.join(output_dir, run.name), f'{title}_{run.name}', informative)
        where = os.path.join(output_dir, setting)
        interpret(mean_masks(of_runs), where, f'{title}_{setting}' if setting else title, informative)
        with files.replace_files_in(where) as scratch:
            for masks in zip(*of_runs, strict=True):
                prefix = '' if masks[0].name == 'encoder_mask' else 'decoder_'
                table = spread_table(masks, [run.name for run in runs])
                files.write_csv(os.path.join(scratch, f'{prefix}runs.csv'), table)


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Of the run or runs, or of the imported checkpoint.')
    flags.DEFINE_string('checkpoint', 'best', 'best (by validation accuracy), latest, or a step.')
    flags.DEFINE_string('mask_csv', None, 'A published weights file, instead of a workdir.')
    flags.DEFINE_enum(
        'handedness',
        None,
        list(landmarks_lib.HANDEDNESS),
        "Whose hand the right hand's columns of --mask_csv hold: the signer's right hand (signer) or left hand, as in "
        'the published files (swapped, the default).',
    )
    flags.DEFINE_string('output_dir', None, 'Where tables and pictures are written.', required=True)


def main() -> None:
    """Interprets as the flags say."""
    if bool(flags.FLAGS.workdir) == bool(flags.FLAGS.mask_csv):
        raise errors.InputError('give either --workdir or --mask_csv')
    if flags.FLAGS.mask_csv:
        title = os.path.splitext(os.path.basename(flags.FLAGS.mask_csv))[0].removeprefix('WEIGHTS_SRC_')
        mask = read_mask_csv(flags.FLAGS.mask_csv, flags.FLAGS.handedness or 'swapped')
        interpret([mask], flags.FLAGS.output_dir, title)
        return
    if flags.FLAGS.handedness:
        raise errors.InputError('--handedness is for --mask_csv; a workdir knows how its hands are named')
    if runs_lib.read_index(flags.FLAGS.workdir):
        interpret_runs(flags.FLAGS.workdir, flags.FLAGS.output_dir, flags.FLAGS.checkpoint)
        return
    loaded = checkpoint_lib.load_model(flags.FLAGS.workdir, flags.FLAGS.checkpoint)
    title = os.path.basename(os.path.abspath(flags.FLAGS.workdir))
    interpret(masks_of_model(loaded), flags.FLAGS.output_dir, title, loaded.description.informative_points)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
