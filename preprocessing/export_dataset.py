"""Writes a TFDS directory of landmarks as a file of another kind, the reverse of build_dataset.

python -m preprocessing.export_dataset --dataset=D --format=npz --output=FILE.npz
python -m preprocessing.export_dataset --dataset=D --format=spoter_csv --output=DIRECTORY
python -m preprocessing.export_dataset --dataset=D --format=pose --output=DIRECTORY
"""

from absl import flags

from preprocessing import formats
from slr_jax import cli, files
from slr_jax import dataset as dataset_lib


def _define_flags() -> None:
    writable = [name for name, module in formats.FORMATS.items() if hasattr(module, 'write')]
    flags.DEFINE_string('dataset', None, 'TFDS directory of the dataset.', required=True)
    flags.DEFINE_enum('format', None, writable, 'Kind of file to write.', required=True)
    flags.DEFINE_string('output', None, 'New file, or for spoter_csv and pose new directory.', required=True)
    flags.DEFINE_float(
        'missing_value',
        None,
        "Number that spoter_csv has for missing coordinates; default: the layout's, −2, or 0 for vision_api.",
    )
    flags.DEFINE_string(
        'frame_size',
        None,
        'Width and height in pixels, such as 1920x1080, that coordinates in .pose files are multiplied by, where the '
        'dataset does not know that of the pictures of a clip; default: 1024x1024, which is read as unknown.',
    )


def main() -> None:
    """Writes the dataset that the flags name."""
    values = flags.FLAGS
    files.check_suffix(values.output, *(('.npz',) if values.format == 'npz' else ()))
    dataset = dataset_lib.load_dataset(values.dataset)
    formats.FORMATS[values.format].write(dataset, values.output, values)
    print(f'{values.output}: {sum(map(len, dataset.splits.values()))} clips')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
