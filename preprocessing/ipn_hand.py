"""IPN Hand's annotations -> a clips table.

    python -m preprocessing.ipn_hand --annotations=Annot_List.txt --metadata=metadata.csv --output=clips.csv

Frames count from 1, and t_start and t_end both belong to the segment. The signer is the first two fields of the video
name: `1CM1_4` in `1CM1_4_R_#229`. The published split has no validation set; --validation_subjects makes one.
"""

import dataclasses

from absl import flags
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import tables
from slr_jax import cli, errors

GESTURES = ('B0A', 'B0B', *(f'G{number:02d}' for number in range(1, 12)))
NO_GESTURE = 'D0X'


def read_clips(annotations: str, metadata: str, include_no_gesture: bool = False) -> list[clips_lib.Clip]:
    """Reads the segments, in their order.

    Args:
        annotations: Annot_List.txt.
        metadata: metadata.csv.
        include_no_gesture: keep D0X, as the last label.

    Raises:
        InputError: a file lacks a column, a gesture or a set is unknown, a video has no metadata, or t_start and
            t_end are not frame numbers.
    """
    sets = _read_sets(metadata)
    labels = {gesture: label for label, gesture in enumerate(GESTURES)}
    known = labels | {NO_GESTURE: len(GESTURES)}
    columns = ['video', 'label', 't_start', 't_end']
    table = tables.read_table(annotations, columns)
    clips = []
    for index, (video, gesture, start, end) in enumerate(table[columns].itertuples(index=False, name=None)):
        if gesture not in known:
            raise tables.row_error(annotations, index, 'label', gesture, ', '.join(known))
        if video not in sets:
            raise tables.row_error(annotations, index, 'video', video, f'a video of {metadata}')
        if not (start.isdecimal() and int(start) >= 1):
            raise tables.row_error(annotations, index, 't_start', start, 'a frame number from 1')
        if not (end.isdecimal() and int(end) >= int(start)):
            raise tables.row_error(annotations, index, 't_end', end, f'a frame number from {start}, which is t_start')
        if include_no_gesture or gesture in labels:
            clip = clips_lib.Clip(
                video_id=f'{video}_{int(start):06d}_{int(end):06d}',
                file=f'{video}.avi',
                label=known[gesture],
                gloss=gesture,
                split=sets[video],
                signer_id=subject(video),
                frame_start=int(start),
                frame_end=int(end),
                fps=30,
                source='IPN Hand',
            )
            clips.append(clip)
    return clips


def _read_sets(path: str) -> dict[str, str]:
    table = tables.read_table(path, ['Video Name', 'Set'])
    for index, name in enumerate(table['Set']):
        if name not in ('train', 'test'):
            raise tables.row_error(path, index, 'Set', name, 'train or test')
    return dict(zip(table['Video Name'], table['Set'], strict=True))


def subject(video: str) -> str:
    """The subject in the name of a video: `1CM1_4` in `1CM1_4_R_#229`."""
    return '_'.join(video.split('_')[:2])


def hold_out(clips: list[clips_lib.Clip], num_subjects: int, seed: int) -> set[str]:
    """Draws subjects of the training split whose clips become the validation split.

    Raises:
        InputError: no training subject would be left.
    """
    train, test = ({clip.signer_id for clip in clips if clip.split == split} for split in ('train', 'test'))
    subjects = sorted(train - test)
    most = max(0, len(subjects) - 1)
    if not 0 <= num_subjects <= most:
        raise errors.InputError(
            f'--validation_subjects={num_subjects}, expected 0 to {most}: there are {len(subjects)} training subjects'
        )
    return set(np.random.default_rng(seed).choice(subjects, num_subjects, replace=False).tolist())


def _define_flags() -> None:
    flags.DEFINE_string('annotations', None, 'Annot_List.txt of IPN Hand, the segments.', required=True)
    flags.DEFINE_string('metadata', None, 'metadata.csv of IPN Hand, the split of each video.', required=True)
    flags.DEFINE_string('output', None, 'Clips table to write.', required=True)
    clips_lib.define_glosses_flag()
    flags.adopt_module_key_flags(clips_lib)
    flags.DEFINE_bool('include_no_gesture', False, 'Whether to keep the segments of D0X, no gesture, as class 13.')
    flags.DEFINE_integer(
        'validation_subjects', 0, 'Number of training subjects whose clips become the validation split.'
    )
    flags.DEFINE_integer('seed', 0, 'Seed for drawing the --validation_subjects.', lower_bound=0)


def main() -> None:
    """Writes the clips table."""
    clips = read_clips(flags.FLAGS.annotations, flags.FLAGS.metadata, flags.FLAGS.include_no_gesture)
    clips = clips_lib.keep_glosses(clips, flags.FLAGS.glosses, flags.FLAGS.annotations)
    held_out = hold_out(clips, flags.FLAGS.validation_subjects, flags.FLAGS.seed)
    clips = [dataclasses.replace(clip, split='validation') if clip.signer_id in held_out else clip for clip in clips]
    clips_lib.write_clips(flags.FLAGS.output, clips, flags.FLAGS.annotations)
    print(clips_lib.summary(flags.FLAGS.output, clips))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
