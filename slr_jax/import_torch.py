"""PyTorch checkpoints -> a workdir of this project, without PyTorch and without running what a file contains.

python -m slr_jax.import_torch --checkpoint=checkpoint_v_34.pth --workdir=W
"""

from typing import Any

from absl import flags

from slr_jax import cli, errors, files
from slr_jax import landmarks as landmarks_lib


def load_pth(path: str, num_heads: int | None = None) -> tuple[Any, dict[str, Any]]:
    """The model and the parameters of a PyTorch checkpoint; see torch_models.load_pth."""
    from slr_jax import torch_models

    return torch_models.load_pth(path, num_heads)


def _define_flags() -> None:
    flags.DEFINE_list(
        'checkpoint',
        None,
        'The file of PyTorch or safetensors, or several with commas: each becomes a run.',
        required=True,
    )
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
    flags.DEFINE_enum(
        'normalize',
        None,
        ['none', 'centered', 'spoter'],
        'Normalization of the landmarks that the model was trained with. By default spoter for SPOTER and its forks, '
        'none for the published models with a mask and their relatives.',
    )
    flags.DEFINE_string(
        'prefix', None, "Beginning of the names of the model's tensors, where a file holds several models."
    )


def main() -> None:
    """Imports as the flags say."""
    values = flags.FLAGS
    if not values.checkpoint:
        raise errors.InputError('--checkpoint is empty, expected a .pth or .safetensors file')

    files.check_suffix(values.workdir)

    from slr_jax import torch_models

    torch_models.import_checkpoints(
        values.checkpoint,
        values.workdir,
        layout=values.layout,
        label_names=values.label_names,
        num_heads=values.num_heads,
        handedness=values.handedness,
        normalize=values.normalize,
        prefix=values.prefix,
    )


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
