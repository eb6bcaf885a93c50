"""Writes a TFDS directory of landmarks as a file of another kind, the way back of build_dataset.

python -m preprocessing.export_dataset --dataset=D --format=npz --output=FILE.npz
python -m preprocessing.export_dataset --dataset=D --format=spoter_csv --output=DIRECTORY
"""

from absl import flags

from preprocessing.formats import npz, spoter_csv
from slr_jax import cli
from slr_jax import dataset as dataset_lib


def _define_flags() -> None:
    flags.DEFINE_string('dataset', None, 'The TFDS directory.', required=True)
    flags.DEFINE_enum('format', None, ['npz', 'spoter_csv'], 'What to write.', required=True)
    flags.DEFINE_string('output', None, 'A new file, or for spoter_csv a new directory.', required=True)
    flags.DEFINE_float(
        'missing_value', None, 'spoter_csv: what missing coordinates are written as; by default −2, for vision_api 0.'
    )


def main() -> None:
    """Writes the dataset that the flags name."""
    dataset = dataset_lib.load_dataset(flags.FLAGS.dataset)
    if flags.FLAGS.format == 'npz':
        npz.write_archive(dataset, flags.FLAGS.output)
    else:
        spoter_csv.write_dataset(dataset, flags.FLAGS.output, flags.FLAGS.missing_value)
    print(f'{flags.FLAGS.output}: {sum(map(len, dataset.splits.values()))} clips')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
