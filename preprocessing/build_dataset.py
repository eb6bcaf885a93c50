r"""Builds a TFDS directory of landmarks.

    python -m preprocessing.build_dataset --source=npz --input=FILE --name=N --data_dir=D
    python -m preprocessing.build_dataset --source=spoter_csv --layout=L --train=F --validation=F --test=F \
        --name=N --data_dir=D
    python -m preprocessing.build_dataset --source=landmarks --clips=clips.csv --landmarks=L --layout=L \
        --name=N --data_dir=D
    python -m preprocessing.build_dataset --source=mp_data --input=FOLDER --name=N --data_dir=D

pose, asl_signs and openpose are given as mp_data. The dataset is written to D/N/1.0.0, which `config.dataset` takes.
`--source=X --help` shows the flags of one source.
"""

import re
import sys

from absl import flags

from preprocessing import clips as clips_lib
from preprocessing import formats, plausibility, splits
from preprocessing.formats import tfds_writer
from slr_jax import cli, split_copies
from slr_jax import dataset as dataset_lib


def _define_flags() -> None:
    flags.DEFINE_enum('source', None, list(formats.FORMATS), 'Kind of the input.', required=True)
    flags.DEFINE_string('name', None, 'Name of the dataset: lower-case letters, digits and _.', required=True)
    flags.DEFINE_string('data_dir', None, 'Directory that datasets are written to.', required=True)
    plausibility.define_flags()
    splits.define_copies_flag()
    clips_lib.define_glosses_flag()
    for module in (clips_lib, plausibility, splits):
        flags.adopt_module_key_flags(module)
    # The source decides which flags there are, so it is looked up before they are parsed.
    found = re.search(r'(?:^|\n)--?source[=\n](.*)', '\n'.join(sys.argv[1:]))
    chosen = formats.FORMATS.get(found[1]) if found else None
    for module in [chosen] if chosen else formats.FORMATS.values():
        for name in flags.FLAGS:
            # Several sources have flags of the same name.
            flags.FLAGS[name].allow_override = True
        module.define_flags()
        flags.adopt_module_key_flags(module)


def main() -> None:
    """Reads the source that the flags name and writes the dataset."""
    dataset = formats.FORMATS[flags.FLAGS.source].read(flags.FLAGS)
    dataset = dataset_lib.keep_glosses(dataset, flags.FLAGS.glosses, f'dataset {dataset.description.name}')
    dataset = plausibility.check_with_flags(dataset, flags.FLAGS)
    dataset = split_copies.check(dataset, flags.FLAGS.copies)
    tfds_writer.write_dataset(dataset, flags.FLAGS.data_dir)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
