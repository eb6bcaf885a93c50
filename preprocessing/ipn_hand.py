"""IPN Hand's annotations -> a clips table.

    python -m preprocessing.ipn_hand --annotations=Annot_List.txt --metadata=metadata.csv --output=clips.csv

Frames count from 1 and both ends are in the segment. A signer is the first two fields of the video name, as in
`1CM1_4` of `1CM1_4_R_#229`. The published split has no validation set; --validation_subjects makes one.
"""

import dataclasses

from absl import flags
import numpy as np
import pandas as pd

from preprocessing import clips as clips_lib
from slr_jax import cli, errors

GESTURES = ('B0A', 'B0B', *(f'G{number:02d}' for number in range(1, 12)))
NO_GESTURE = 'D0X'
_FIRST_ROW = 2


def _read_table(path: str, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise errors.InputError(f'{path} is no CSV: {errors.one_line(error)}') from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise errors.InputError(f'{path} has no column {missing[0]!r}, expected {", ".join(columns)}')
    return table


def read_clips(annotations: str, metadata: str, include_no_gesture: bool = False) -> list[clips_lib.Clip]:
    """Reads the segments, in their order.

    Args:
        annotations: Annot_List.txt.
        metadata: metadata.csv.
        include_no_gesture: keep D0X, as the last label.

    Raises:
        InputError: a file lacks a column, a gesture or a set is unknown, a video has no metadata, or its frames are
            no numbers.
    """
    sets = _read_sets(metadata)
    labels = {gesture: label for label, gesture in enumerate(GESTURES)}
    known = labels | {NO_GESTURE: len(GESTURES)}
    table = _read_table(annotations, ('video', 'label', 't_start', 't_end'))
    clips = []
    for row, (video, gesture, start, end) in enumerate(
        table[['video', 'label', 't_start', 't_end']].itertuples(index=False, name=None), _FIRST_ROW
    ):
        where = f'{annotations}, row {row}'
        if gesture not in known:
            raise errors.InputError(f'{where}, column label: found {gesture!r}, expected {", ".join(known)}')
        if video not in sets:
            raise errors.InputError(f'{where}: {metadata} does not have the video {video!r}')
        if not (start.isdecimal() and end.isdecimal() and 1 <= int(start) <= int(end)):
            raise errors.InputError(f'{where}: t_start and t_end are {start!r} and {end!r}, expected frame numbers')
        if include_no_gesture or gesture in labels:
            clip = clips_lib.Clip(
                video_id=f'{video}_{int(start):06d}_{int(end):06d}',
                file=f'{video}.avi',
                label=known[gesture],
                gloss=gesture,
                split=sets[video],
                signer_id=subject_of(video),
                frame_start=int(start),
                frame_end=int(end),
                fps=30,
                source='IPN Hand',
            )
            clips.append(clip)
    return clips


def _read_sets(path: str) -> dict[str, str]:
    table = _read_table(path, ('Video Name', 'Set'))
    for row, name in enumerate(table['Set'], _FIRST_ROW):
        if name not in ('train', 'test'):
            raise errors.InputError(f'{path}, row {row}, column Set: found {name!r}, expected train or test')
    return dict(zip(table['Video Name'], table['Set'], strict=True))


def subject_of(video: str) -> str:
    """`1CM1_4` of `1CM1_4_R_#229`."""
    return '_'.join(video.split('_')[:2])


def hold_out(clips: list[clips_lib.Clip], num_subjects: int, seed: int) -> set[str]:
    """Draws subjects, of the training split only, whose clips become the validation split.

    Raises:
        InputError: there are not that many training subjects and one more.
    """
    train, test = ({clip.signer_id for clip in clips if clip.split == split} for split in ('train', 'test'))
    subjects = sorted(train - test)
    most = max(0, len(subjects) - 1)
    if not 0 <= num_subjects <= most:
        raise errors.InputError(
            f'--validation_subjects={num_subjects}: there are {len(subjects)} training subjects, expected 0 to {most}'
        )
    return set(np.random.default_rng(seed).choice(subjects, num_subjects, replace=False).tolist())


def _define_flags() -> None:
    flags.DEFINE_string('annotations', None, 'Annot_List.txt of IPN Hand.', required=True)
    flags.DEFINE_string('metadata', None, 'metadata.csv of IPN Hand, which has the split.', required=True)
    flags.DEFINE_string('output', None, 'The clips table to write.', required=True)
    flags.DEFINE_bool('include_no_gesture', False, 'Keep the segments of D0X, no gesture, as class 13.')
    flags.DEFINE_integer('validation_subjects', 0, 'Training subjects whose clips become the validation split.')
    flags.DEFINE_integer('seed', 0, 'Seed of the draw of --validation_subjects.', lower_bound=0)


def main() -> None:
    """Writes the clips table."""
    clips = read_clips(flags.FLAGS.annotations, flags.FLAGS.metadata, flags.FLAGS.include_no_gesture)
    held_out = hold_out(clips, flags.FLAGS.validation_subjects, flags.FLAGS.seed)
    clips = [dataclasses.replace(clip, split='validation') if clip.signer_id in held_out else clip for clip in clips]
    clips_lib.write_clips(flags.FLAGS.output, clips)
    print(clips_lib.summary(flags.FLAGS.output, clips))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
