"""Tables and pictures of learned masks."""

from collections.abc import Sequence
import os

import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import figures, files, progress
from slr_jax import masks as masks_lib
from slr_jax import workdir as workdir_lib
from slr_jax.masks import Mask


def interpret(workdir: str, output_dir: str, checkpoint: str = 'best') -> None:
    """Writes the tables and pictures of the masks of a run, or of every run of a workdir of several and their mean.

    Args:
        workdir: of the run or runs; runs that diverged are left out.
        output_dir: gets the files of `write_masks`. Of several runs, a folder for each; and for the mean over the
            seeds, in a folder for each combination of swept values where there are several, the same files and
            runs.csv.
        checkpoint: best, latest or a step.
    """
    title = os.path.basename(os.path.abspath(workdir))
    entries = workdir_lib.read_index(workdir)
    if not entries:
        _interpret_run(workdir, output_dir, checkpoint, title)
        return
    usable, _ = workdir_lib.leave_out_diverged(entries)
    for swept, runs in workdir_lib.group_by_swept(usable).items():
        masks_per_run = []
        for run in runs:
            path = workdir_lib.run_path(workdir, run.name)
            masks, informative = _interpret_run(
                path, os.path.join(output_dir, run.name), checkpoint, f'{title}_{run.name}'
            )
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
    workdir: str, output_dir: str, checkpoint: str, title: str
) -> tuple[list[Mask], Sequence[int] | None]:
    loaded = checkpoint_lib.load_model(workdir, checkpoint)
    masks, informative = masks_lib.model_masks(loaded), loaded.description.informative_points
    write_masks(masks, output_dir, title, informative)
    return masks, informative


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
        output_dir: for every mask: points.csv, coordinates.csv (where the mask has them), WEIGHTS_SRC_<title>.csv, bars
            and figure as PNG and SVG; of the decoder's mask with `decoder_` before the name; auroc.json with
            `informative_points`.
        title: of the experiment.
        informative_points: in synthetic data, the points that differ between classes.
    """
    found = {}
    with files.replace_files_in(output_dir) as scratch:
        for mask in masks:
            prefix = os.path.join(scratch, mask.prefix)
            table = masks_lib.point_table(mask, informative_points)
            files.write_csv(f'{prefix}points.csv', table)
            if mask.weights.shape[1] > 1:
                files.write_csv(f'{prefix}coordinates.csv', masks_lib.coordinate_table(mask))
            masks_lib.write_published(f'{prefix}WEIGHTS_SRC_{title}.csv', mask)
            name = mask.name.replace('_', ' ')
            for file, draw in (('bars', figures.draw_bars), ('figure', figures.draw_body_and_hands)):
                figures.save(draw(mask.anatomical_weights, mask.layout, f'{title}, {name}'), f'{prefix}{file}')
            top = sorted(table, key=lambda row: row['rank'])[:5]
            progress.report(f'{mask.name}: ' + ', '.join(f'{row["point"]} {row["weight"]:.3f}' for row in top))
            if informative_points is not None:
                is_informative = np.isin(np.arange(len(table)), informative_points)
                found[mask.name] = masks_lib.auroc(mask.point_weights, is_informative)
                progress.report(f'{mask.name} finds the informative points with AUROC {found[mask.name]:.3f}')
        if found:
            files.write_json(os.path.join(scratch, 'auroc.json'), found)
    progress.report(f'written to {output_dir}')
