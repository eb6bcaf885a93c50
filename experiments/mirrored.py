"""How a model answers signers of the other hand: its test clips as they are, and as in a mirror.

    python -m experiments.mirrored --workdir=runs/ksl13 [--dataset=data/ksl13] [--split=test]

Prints both accuracies, of each run of the workdir and their mean, with 95 % intervals, and writes mirrored.json into
the workdir. The checkpoint is the best by validation accuracy.
"""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from absl import flags
import jax.numpy as jnp
import numpy as np

from slr_jax import augment, checkpoint, cli, files, progress, runtime
from slr_jax import dataset as dataset_lib
from slr_jax import metrics as metrics_lib
from slr_jax.inference import LoadedModel


def mirrored(clips: dataset_lib.Clips, layout: Any) -> list[np.ndarray]:
    """<float32>[frames, points, 3] of each clip, as in a mirror."""
    return [np.asarray(augment.mirror(jnp.asarray(clip), layout)) for clip in clips.landmarks]


def evaluate(loaded: LoadedModel, clips: dataset_lib.Clips) -> dict[str, float]:
    """The accuracy of one run on clips and on their mirror images."""
    found = {}
    for name, landmarks in (('as they are', clips.landmarks), ('mirrored', mirrored(clips, loaded.layout))):
        logits = loaded.logits(landmarks, clips.video_ids, clips.frame_sizes)
        found[name] = metrics_lib.compute_metrics(logits, clips.labels)['accuracy']
    return found | {'clips': len(clips)}


def summarize(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The mean over the runs, see metrics.aggregate_runs."""
    names = [name for name in rows[0] if name != 'clips']
    return {name: metrics_lib.aggregate_runs([row[name] for row in rows], int(rows[0]['clips'])) for name in names}


def _define_flags() -> None:
    flags.DEFINE_string('workdir', None, 'Workdir of a run, or of several.', required=True)
    flags.DEFINE_string('dataset', None, 'TFDS directory; that of the run where it is not given.')
    flags.DEFINE_string('split', 'test', 'Split of the dataset.')


def main() -> None:
    """Tests as the flags say."""
    runtime.use_compilation_cache()
    values = flags.FLAGS
    models = checkpoint.load_mean_of_runs(values.workdir).models
    clips = dataset_lib.load_dataset(values.dataset or models[0].config.dataset).split(values.split)
    summary = summarize([evaluate(loaded, clips) for loaded in models])
    files.write_json(os.path.join(values.workdir, 'mirrored.json'), summary)
    for name, found in summary.items():
        low, high = found['accuracy_interval95']
        progress.report(
            f'{values.split} clips {name}: {found["accuracy_mean"]:.1%} over {found["runs"]} runs, standard deviation '
            f'{found["accuracy_std"]:.1%}, 95 % interval of {found["interval"]} {low:.1%} to {high:.1%}, '
            f'{found["clips"]} clips'
        )


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
