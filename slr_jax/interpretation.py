"""Tables and pictures of learned masks, and of other rankings of points."""

from collections.abc import Sequence
import os

import numpy as np

from slr_jax import attribution, evaluation, figures, files, inference, progress
from slr_jax import checkpoint as checkpoint_lib
from slr_jax import masks as masks_lib
from slr_jax import workdir as workdir_lib
from slr_jax.masks import Mask


def interpret(
    workdir: str,
    output_dir: str,
    checkpoint: str = 'best',
    ranking: str = attribution.PUBLISHED,
    split: str = 'validation',
    dataset: str | None = None,
) -> None:
    """Writes the tables and pictures of the masks of a run, or of every run of a workdir of several and their mean.

    Args:
        workdir: of the run or runs; runs that diverged are left out.
        output_dir: gets the files of `write_masks`. Of several runs, a folder for each; and for the mean over the
            seeds, in a folder for each combination of swept values where there are several, the same files and
            runs.csv.
        checkpoint: best, latest or a step.
        ranking: a key of attribution.RANKINGS; its importances take the place of the masks' weights, if it is not the
            published one. What it draws is drawn from the seed of the run.
        split: of the dataset, whose clips a ranking looks at, if it looks at any.
        dataset: TFDS directory, or None for that of the run.

    Raises:
        InputError: there is no such ranking, the model has no mask and the ranking needs one, or the dataset does not
            fit the model.
    """
    attribution.find_ranking(ranking)
    options = (checkpoint, ranking, split, dataset)
    title = os.path.basename(os.path.abspath(workdir))
    entries = workdir_lib.read_index(workdir)
    if not entries:
        _interpret_run(workdir, output_dir, title, *options)
        return
    usable, _ = workdir_lib.leave_out_diverged(entries)
    for swept, runs in workdir_lib.group_by_swept(usable).items():
        masks_per_run = []
        for run in runs:
            path = workdir_lib.run_path(workdir, run.name)
            run_output = os.path.join(output_dir, run.name)
            masks, informative = _interpret_run(path, run_output, f'{title}_{run.name}', *options)
            masks_per_run.append(masks)
        mean_output = os.path.join(output_dir, swept)
        write_masks(
            masks_lib.mean_masks(masks_per_run), mean_output, f'{title}_{swept}' if swept else title, informative
        )
        with files.replace_files_in(mean_output) as scratch:
            for same_mask in zip(*masks_per_run, strict=True):
                table = masks_lib.spread_table(same_mask, [run.name for run in runs])
                files.write_csv(os.path.join(scratch, f'{same_mask[0].prefix}runs.csv'), table)


def _interpret_run(
    workdir: str, output_dir: str, title: str, checkpoint: str, ranking: str, split: str, dataset: str | None
) -> tuple[list[Mask], Sequence[int] | None]:
    loaded = checkpoint_lib.load_model(workdir, checkpoint)
    if ranking == attribution.PUBLISHED:
        masks = masks_lib.model_masks(loaded)
    else:
        masks = [_rank(loaded, workdir, ranking, split, dataset)]
    informative = masks_lib.informative_points(loaded.description, loaded.fed_layout)
    write_masks(masks, output_dir, title, informative)
    return masks, informative


def _rank(loaded: inference.LoadedModel, workdir: str, ranking: str, split: str, dataset: str | None) -> Mask:
    clips = None
    if ranking not in attribution.WITHOUT_CLIPS:
        clips = evaluation.Evaluator(workdir, split, dataset, unknown_glosses='leave_out').clips
    importance = attribution.find_ranking(ranking)(loaded, clips, loaded.config.seed)
    return masks_lib.make_mask(ranking, importance, loaded)


def interpret_csv(path: str, output_dir: str, handedness: str = 'swapped') -> None:
    """Writes the tables and pictures of a published weights file."""
    title = os.path.splitext(os.path.basename(path))[0].removeprefix('WEIGHTS_SRC_')
    write_masks([masks_lib.read_mask_csv(path, handedness)], output_dir, title)


def write_masks(
    masks: Sequence[Mask], output_dir: str, title: str, informative_points: Sequence[int] | None = None
) -> None:
    """Writes the tables and pictures of a model's masks, and reports what matters most.

    Args:
        masks: of one model.
        output_dir: for every mask: points.csv, coordinates.csv (where the mask has them), shadows.csv (where the model
            is fed shadows), WEIGHTS_SRC_<title>.csv (of learned masks), bars and figure as PNG and SVG; of the
            decoder's mask with `decoder_` before the name; auroc.json with `informative_points`. Pictures of
            importances show them as fractions of the largest.
        title: of the experiment.
        informative_points: in synthetic data, the points that differ between classes.
    """
    found = {}
    with files.replace_files_in(output_dir) as scratch:
        for mask in masks:
            prefix = os.path.join(scratch, mask.prefix)
            table = masks_lib.point_table(mask, informative_points)
            files.write_csv(f'{prefix}points.csv', table)
            if mask.shadows is not None:
                files.write_csv(f'{prefix}shadows.csv', masks_lib.shadow_table(mask))
            if mask.weights.shape[1] > 1:
                files.write_csv(f'{prefix}coordinates.csv', masks_lib.coordinate_table(mask))
            if mask.is_learned:
                masks_lib.write_published(f'{prefix}WEIGHTS_SRC_{title}.csv', mask)
            _draw(mask, title, prefix)
            top = sorted(table, key=lambda row: row['rank'])[:5]
            digits = '.3f' if mask.is_learned else '.3g'
            progress.report(f'{mask.name}: ' + ', '.join(f'{row["point"]} {row["weight"]:{digits}}' for row in top))
            if mask.point_gates is not None and mask.deviations is None:
                progress.report(f'{np.count_nonzero(mask.point_gates)} of {len(table)} points have an open gate')
            if informative_points is not None:
                is_informative = np.isin(np.arange(len(table)), informative_points)
                found[mask.name] = masks_lib.auroc(mask.point_weights, is_informative)
                progress.report(f'{mask.name} finds the informative points with AUROC {found[mask.name]:.3f}')
        if found:
            files.write_json(os.path.join(scratch, 'auroc.json'), found)
    progress.report(f'written to {output_dir}')


def _draw(mask: Mask, title: str, prefix: str) -> None:
    weights, title = mask.anatomical_weights, f'{title}, {mask.name.replace("_", " ")}'
    deviations = None if mask.deviations is None else mask.on_signer(mask.deviations)
    significant = None if mask.significant is None else mask.on_signer(mask.significant)
    if deviations is not None:
        title += ', mean ± standard deviation over runs'
    if not mask.is_learned:
        largest = np.abs(weights).max() or 1.0
        weights, deviations = weights / largest, None if deviations is None else deviations / largest
        title += ', as a fraction of the largest'
    bars = figures.draw_bars(weights, mask.layout, title, deviations, initial_weight=1 if mask.is_learned else None)
    figures.save(bars, f'{prefix}bars')
    if significant is not None:
        title += f', ringed where it beats its shadows (q ≤ {masks_lib.SIGNIFICANT})'
    figure = figures.draw_body_and_hands(weights, mask.layout, title, deviations, significant)
    figures.save(figure, f'{prefix}figure')
