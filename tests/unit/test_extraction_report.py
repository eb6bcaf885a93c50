"""What the report of an extraction says of clips in which nothing, or too little, was seen."""

import pytest

pytest.importorskip('cv2')

import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker
from preprocessing.extraction import store as store_lib
from slr_jax import errors

BOTH, HANDS, POSE = ('hands', 'pose'), ('hands',), ('pose',)


def make_row(name='a', num_frames=100, frame_end=clips_lib.TO_THE_END, **seen):
    """The row of a clip whose hands and body are seen in its first frames."""
    landmarks = np.full((num_frames, landmarker.LAYOUT.num_points, 3), np.nan, np.float32)
    for group, count in seen.items():
        landmarks[:count, list(landmarker.LAYOUT.groups[group])] = 0.5
    clip = clips_lib.Clip(name, f'{name}.mp4', 0, 'book', 'train', frame_end=frame_end)
    return store_lib.done_row(clip, landmarks, 0, (64, 48))


def test_a_clip_in_which_nothing_is_seen_is_not_done():
    row = make_row()
    assert (row['status'], row['reason']) == ('nothing seen', 'no body or hand was seen in any frame')
    assert (row['frames'], row['right_hand'], row['left_hand'], row['body']) == (100, 0, 0, 0)
    row = make_row(frame_end=103)
    assert row['reason'] == (
        'the annotation ends at frame 103, the video at frame 100; no body or hand was seen in any frame'
    )
    # One frame of 100,000 is something.
    assert make_row(num_frames=100_000, body=1)['status'] == 'done'


def test_clips_of_an_older_version_are_named():
    rows = [make_row('old', body=9) | {'frame_size': ''}, make_row('new', body=9)]
    assert 'extracted 1 (old); remove' in store_lib.summary(rows)
    assert 'older version' not in store_lib.summary(rows[1:])


@pytest.mark.parametrize(
    ('parts', 'seen', 'expected'),
    [
        (BOTH, {'right_hand': 10, 'body': 100}, False),
        (BOTH, {'left_hand': 10, 'body': 100}, False),
        (BOTH, {'right_hand': 9, 'left_hand': 9, 'body': 100}, True),
        (BOTH, {'body': 100}, True),
        (BOTH, {'right_hand': 30, 'body': 50}, False),
        (BOTH, {'right_hand': 30, 'body': 49}, True),
        # A close-up of a hand.
        (BOTH, {'right_hand': 50}, False),
        (BOTH, {'right_hand': 49}, True),
        (HANDS, {'right_hand': 10}, False),
        (HANDS, {'right_hand': 9}, True),
        (POSE, {'body': 50}, False),
        (POSE, {'body': 49}, True),
    ],
)
def test_what_is_too_little(parts, seen, expected):
    row = make_row(**seen)
    store_lib.note_seldom_seen([row], parts)
    assert row['status'] == 'done'
    assert row['reason'].startswith('seldom seen: right hand ') == expected
    assert bool(row['reason']) == expected
    assert bool(store_lib.unseen_line([row])) == expected


def test_the_last_line_counts_and_names():
    whole = {'right_hand': 60, 'left_hand': 0, 'body': 100}
    rows = [make_row('a', **whole), make_row('b', frame_end=103, body=100), make_row('c'), make_row('d', **whole)]
    rows.append(store_lib.missing_row(clips_lib.Clip('e', 'e.mp4', 0, 'book', 'train')))
    store_lib.note_seldom_seen(rows, BOTH)
    lines = store_lib.summary(rows).splitlines()
    assert lines[0] == '3 clips done, 1 nothing seen, 0 failed, 1 missing'
    assert lines[1] == '400 frames, seen in: right hand 30.0%, left hand 0.0%, body 75.0%'
    assert 'clips shorter than annotated, because the video ends first: 1, named in report.csv' in lines
    assert lines[-1] == 'warning: of 5 clips, nothing seen in 1 (c), seldom seen in 1 (b); report.csv has each'
    store_lib.require_done(rows, 'L')
    assert store_lib.summary(rows[::3]).splitlines() == [
        '2 clips done, 0 failed, 0 missing',
        '200 frames, seen in: right hand 60.0%, left hand 0.0%, body 100.0%',
    ]


def test_no_clip_is_done():
    with pytest.raises(errors.InputError, match=r'^nothing was seen in the .*: 1 \(a\); L/report.csv says why$'):
        store_lib.require_done([make_row()], 'L')
