"""Builds a TFDS directory of landmarks.

    python -m preprocessing.build_dataset --source=npz --input=FILE --name=N --data_dir=D
    python -m preprocessing.build_dataset --source=spoter_csv --layout=L --train=F --validation=F --test=F \
        --name=N --data_dir=D
    python -m preprocessing.build_dataset --source=landmarks --clips=clips.csv --landmarks=L --layout=L \
        --name=N --data_dir=D

The dataset is written to D/N/1.0.0, which `config.dataset` takes.
"""

from absl import flags

from preprocessing import clips as clips_lib
from preprocessing.formats import extracted, npz, spoter_csv, tfds_writer
from slr_jax import cli, errors
from slr_jax import dataset as dataset_lib
from slr_jax import landmarks as landmarks_lib


def _read_source() -> dataset_lib.Dataset:
    if flags.FLAGS.source == 'npz':
        if not flags.FLAGS.input:
            raise errors.InputError('--source=npz needs --input=FILE')
        return npz.read_archive(flags.FLAGS.input, flags.FLAGS.name)
    if flags.FLAGS.source == 'landmarks':
        if not (flags.FLAGS.clips and flags.FLAGS.landmarks and flags.FLAGS.layout):
            raise errors.InputError('--source=landmarks needs --clips, --landmarks and --layout')
        return extracted.read_dataset(
            clips_lib.read_clips(flags.FLAGS.clips),
            flags.FLAGS.landmarks,
            flags.FLAGS.name,
            landmarks_lib.LAYOUTS[flags.FLAGS.layout],
            hand=flags.FLAGS.hand,
            drop_empty_frames=flags.FLAGS.drop_empty_frames,
            require_all=flags.FLAGS.require_all,
        )
    paths = {split: flags.FLAGS[split].value for split in dataset_lib.SPLITS if flags.FLAGS[split].value}
    if not paths or not flags.FLAGS.layout:
        raise errors.InputError('--source=spoter_csv needs --layout and at least one of --train, --validation, --test')
    return spoter_csv.read_dataset(
        paths,
        flags.FLAGS.name,
        landmarks_lib.LAYOUTS[flags.FLAGS.layout],
        label_base=flags.FLAGS.label_base,
        missing_value=flags.FLAGS.missing_value,
        label_names=flags.FLAGS.label_names,
        handedness=flags.FLAGS.handedness,
    )


def _define_flags() -> None:
    flags.DEFINE_enum('source', None, ['npz', 'spoter_csv', 'landmarks'], 'Kind of the input.', required=True)
    flags.DEFINE_string('name', None, 'Name of the dataset: lower-case letters, digits and _.', required=True)
    flags.DEFINE_string('data_dir', None, 'Directory that datasets are written to.', required=True)
    flags.DEFINE_string('input', None, 'npz: the ragged landmark archive.')
    flags.DEFINE_enum('layout', None, sorted(landmarks_lib.LAYOUTS), 'spoter_csv, landmarks: the layout.')
    for split in dataset_lib.SPLITS:
        flags.DEFINE_string(split, None, f'spoter_csv: the file of the {split} split; may be left out.')
    flags.DEFINE_enum(
        'label_base', 'auto', ['auto', '0', '1'], 'spoter_csv: the first label; auto takes the lowest of all files.'
    )
    flags.DEFINE_float(
        'missing_value', None, 'spoter_csv: what missing coordinates are in the files; by default −2, for vision_api 0.'
    )
    flags.DEFINE_string('label_names', None, 'spoter_csv: text file with one gloss a line.')
    flags.DEFINE_enum(
        'handedness',
        'signer',
        list(landmarks_lib.HANDEDNESS),
        "spoter_csv: whose hand the right hand's columns hold: the signer's right hand (signer) or, as in the "
        'published extraction, the left one (swapped).',
    )
    flags.DEFINE_string('clips', None, 'landmarks: the clips table.')
    flags.DEFINE_string(
        'landmarks',
        None,
        'landmarks: a directory of extract_landmarks or of published <video>_poses_landmarks.csv, or the published '
        'compact file of IPN Hand.',
    )
    flags.DEFINE_enum('hand', 'most_seen', list(extracted.HANDS), 'landmarks: which hand, for a layout of one.')
    flags.DEFINE_bool('drop_empty_frames', False, 'landmarks: leave out frames where nothing was seen, as published.')
    flags.DEFINE_bool('require_all', False, 'landmarks: a clip without landmarks is an error.')


def main() -> None:
    """Reads the source that the flags name and writes the dataset."""
    tfds_writer.write_dataset(_read_source(), flags.FLAGS.data_dir)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
