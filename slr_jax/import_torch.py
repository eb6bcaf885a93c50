"""Published PyTorch checkpoints -> a workdir of this project, without PyTorch and without running what a file contains.

python -m slr_jax.import_torch --checkpoint=checkpoint_v_34.pth --workdir=W
"""

from typing import Any

from absl import flags

from slr_jax import cli, errors
from slr_jax import landmarks as landmarks_lib


def load_pth(path: str, num_heads: int | None = None) -> tuple[Any, dict[str, Any]]:
    """The model and the parameters of a published checkpoint; see torch_models.load_pth."""
    from slr_jax import torch_models

    return torch_models.load_pth(path, num_heads)


def _define_flags() -> None:
    flags.DEFINE_list('checkpoint', None, 'The .pth file, or several with commas: each becomes a run.', required=True)
    flags.DEFINE_string('workdir', None, 'New folder for the workdir.', required=True)
    flags.DEFINE_enum(
        'layout', None, sorted(landmarks_lib.LAYOUTS), 'Landmark layout; found from the input width where not given.'
    )
    flags.DEFINE_string('label_names', None, 'Text file with one gloss per line; class numbers if not given.')
    flags.DEFINE_integer('num_heads', None, 'Attention heads; needed for a plain state dict only.')
    flags.DEFINE_enum(
        'handedness',
        None,
        list(landmarks_lib.HANDEDNESS),
        "Whose hand the right hand's columns hold: the signer's right hand (signer) or left hand (swapped). By default "
        'swapped for mediapipe_hands_pose, as the published weights were trained, else signer.',
    )


def main() -> None:
    """Imports as the flags say."""
    values = flags.FLAGS
    if not values.checkpoint:
        raise errors.InputError('--checkpoint is empty, expected a .pth file')

    from slr_jax import torch_models

    torch_models.import_checkpoints(
        values.checkpoint,
        values.workdir,
        layout=values.layout,
        label_names=values.label_names,
        num_heads=values.num_heads,
        handedness=values.handedness,
    )


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
