from collections import Counter
import csv
import re

import pytest

from preprocessing import clips as clips_lib
from preprocessing import ipn_hand
from slr_jax import errors
from tests import in_process

GESTURES = 'B0A B0B G01 G02 G03 G04 G05 G06 G07 G08 G09 G10 G11'.split()


@pytest.fixture
def convert(shared, tmp_path, capfd, monkeypatch):
    def run(*options):
        source, output = shared / 'annotations', tmp_path / 'clips.csv'
        argv = [
            'preprocessing.ipn_hand',
            f'--annotations={source}/Annot_List.txt',
            f'--metadata={source}/metadata.csv',
            f'--output={output}',
            *options,
        ]
        assert in_process.run_here(argv, capfd, monkeypatch) == (0, '')
        return clips_lib.read_clips(str(output))

    return run


def read_segments(shared):
    """Each segment, with the set of its video."""
    with open(shared / 'annotations' / 'metadata.csv', newline='', encoding='utf-8') as file:
        sets = {row['Video Name']: row['Set'] for row in csv.DictReader(file)}
    with open(shared / 'annotations' / 'Annot_List.txt', newline='', encoding='utf-8') as file:
        return [row | {'set': sets[row['video']]} for row in csv.DictReader(file)]


def test_segments_of_the_gestures(shared, convert):
    clips = convert()
    expected = [row for row in read_segments(shared) if row['label'] != 'D0X']
    assert len(clips) == len(expected) == 4218
    for clip, row in zip(clips, expected, strict=True):
        assert (clip.gloss, clip.label) == (row['label'], GESTURES.index(row['label']))
        assert (clip.frame_start, clip.frame_end) == (int(row['t_start']), int(row['t_end']))
        assert clip.num_frames == int(row['frames'])
        assert (clip.file, clip.split) == (f'{row["video"]}.avi', row['set'])
        assert row['video'].startswith(f'{clip.signer_id}_')
        assert clip.signer_id.count('_') == 1
        assert (clip.fps, clip.bbox, clip.source) == (30, '', 'IPN Hand')
    assert clips[0].video_id == '1CM1_4_R_#229_000018_000055'
    assert clips[0].signer_id == '1CM1_4'
    assert Counter(clip.split for clip in clips) == {'train': 3117, 'test': 1101}
    test = Counter(clip.label for clip in clips if clip.split == 'test')
    assert [test[label] for label in range(13)] == [265, 264, *[52] * 11]
    signers = {split: {clip.signer_id for clip in clips if clip.split == split} for split in ('train', 'test')}
    assert (len(signers['train']), len(signers['test'])) == (37, 13)
    assert not signers['train'] & signers['test']


def test_include_no_gesture(shared, convert):
    clips = convert('--include_no_gesture')
    assert [clip.gloss for clip in clips] == [row['label'] for row in read_segments(shared)]
    assert len(clips) == 5649
    assert {clip.gloss: clip.label for clip in clips} == {
        gesture: label for label, gesture in enumerate([*GESTURES, 'D0X'])
    }


def test_some_gestures(convert):
    clips = convert('--glosses=G05,B0A')
    assert {(clip.label, clip.gloss) for clip in clips} == {(0, 'B0A'), (1, 'G05')}
    assert len(clips) == sum(clip.gloss in ('B0A', 'G05') for clip in convert())


def test_validation_subjects(convert):
    published = convert()
    drawn = [convert('--validation_subjects=7', f'--seed={seed}') for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    held_out = []
    for clips in drawn[1:]:
        pairs = {(clip.split, clip.signer_id) for clip in clips}
        assert Counter(split for split, _ in pairs) == {'train': 30, 'validation': 7, 'test': 13}
        assert len({subject for _, subject in pairs}) == 50
        for clip, before in zip(clips, published, strict=True):
            assert (clip.video_id, clip.label, clip.file) == (before.video_id, before.label, before.file)
            assert before.split == ('train' if clip.split == 'validation' else clip.split)
        held_out.append({subject for split, subject in pairs if split == 'validation'})
    assert held_out[0] != held_out[1]


def write(tmp_path, segments, videos, columns='video,label,t_start,t_end', meta_columns='Video Name,Set'):
    annotations, metadata = tmp_path / 'Annot_List.txt', tmp_path / 'metadata.csv'
    annotations.write_text('\n'.join([columns, *segments]))
    metadata.write_text('\n'.join([meta_columns, *videos]))
    return str(annotations), str(metadata)


VIDEOS = ['A_1_R_#1,train', 'A_2_R_#1,train', 'A_3_R_#1,test']
SEGMENTS = ['A_1_R_#1,B0A,1,9', 'A_2_R_#1,B0B,5,5', 'A_3_R_#1,D0X,1,4']


def test_small_files(tmp_path):
    clips = ipn_hand.read_clips(*write(tmp_path, SEGMENTS, VIDEOS), include_no_gesture=True)
    assert [(clip.video_id, clip.label, clip.split, clip.num_frames) for clip in clips] == [
        ('A_1_R_#1_000001_000009', 0, 'train', 9),
        ('A_2_R_#1_000005_000005', 1, 'train', 1),
        ('A_3_R_#1_000001_000004', 13, 'test', 4),
    ]


BAD_SEGMENTS = {
    'gesture': ('A_1_R_#1,G12,1,9', 'label', 'G12', 'B0A, B0B, G01, '),
    'gesture id': ('A_1_R_#1,2,1,9', 'label', '2', 'B0A, '),
    'video': ('A_4_R_#1,B0A,1,9', 'video', 'A_4_R_#1', '{metadata}'),
    'start text': ('A_1_R_#1,B0A,first,9', 't_start', 'first', 'frame number'),
    'start half': ('A_1_R_#1,B0A,1.5,9', 't_start', '1.5', 'frame number'),
    'start squared': ('A_1_R_#1,B0A,2²,90', 't_start', '2²', 'frame number'),
    'start 0': ('A_1_R_#1,B0A,0,9', 't_start', '0', 'frame number'),
    'start negative': ('A_1_R_#1,B0A,-1,9', 't_start', '-1', 'frame number'),
    'end before start': ('A_1_R_#1,B0A,9,8', 't_end', '8', '9'),
    'end absent': ('A_1_R_#1,B0A,9', 't_end', '', 'frame number'),
}


@pytest.mark.parametrize(('segment', 'column', 'found', 'expected'), BAD_SEGMENTS.values(), ids=BAD_SEGMENTS)
def test_bad_segment(tmp_path, segment, column, found, expected):
    annotations, metadata = write(tmp_path, [SEGMENTS[0], segment], VIDEOS)
    with pytest.raises(errors.InputError) as caught:
        ipn_hand.read_clips(annotations, metadata)
    words = f'{annotations}, row 3, column {column}: found {found!r}, expected '
    assert str(caught.value).startswith(words)
    assert expected.format(metadata=metadata) in str(caught.value).removeprefix(words)


@pytest.mark.parametrize('column', ['video', 'label', 't_start', 't_end', 'Video Name', 'Set'])
def test_missing_column(tmp_path, column):
    columns, meta_columns = 'video,label,t_start,t_end', 'Video Name,Set'
    paths = write(tmp_path, SEGMENTS, VIDEOS, columns.replace(column, 'other'), meta_columns.replace(column, 'other'))
    path = paths[column in meta_columns]
    with pytest.raises(errors.InputError, match=f"^{re.escape(path)} has no column '{column}', expected "):
        ipn_hand.read_clips(*paths)


@pytest.mark.parametrize('value', ['validation', 'Train', ''])
def test_unknown_set(tmp_path, value):
    annotations, metadata = write(tmp_path, SEGMENTS, [*VIDEOS, f'A_4_R_#1,{value}'])
    with pytest.raises(errors.InputError) as caught:
        ipn_hand.read_clips(annotations, metadata)
    assert str(caught.value) == f'{metadata}, row 5, column Set: found {value!r}, expected train or test'


@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('content', [b'', b'\xff\xfe' * 50], ids=['empty', 'noise'])
def test_not_a_csv_file(tmp_path, which, content):
    paths = write(tmp_path, SEGMENTS, VIDEOS)
    with open(paths[which], 'wb') as file:
        file.write(content)
    with pytest.raises(errors.InputError, match=f'^{re.escape(paths[which])} is (empty|not a CSV file)'):
        ipn_hand.read_clips(*paths)


def test_number_of_held_out_subjects(tmp_path):
    clips = ipn_hand.read_clips(*write(tmp_path, SEGMENTS, VIDEOS), include_no_gesture=True)
    assert ipn_hand.hold_out(clips, 0, 0) == set()
    assert {frozenset(ipn_hand.hold_out(clips, 1, seed)) for seed in range(20)} == {
        frozenset({'A_1'}), frozenset({'A_2'}),
    }  # fmt: skip
    assert ipn_hand.hold_out(clips[2:], 0, 0) == set()
    for number in (2, 99, -1):
        with pytest.raises(errors.InputError) as caught:
            ipn_hand.hold_out(clips, number, 0)
        assert all(word in str(caught.value) for word in (f'--validation_subjects={number}', '0 to 1', '2 training'))


def test_a_subject_of_the_test_split_is_not_held_out(tmp_path):
    videos = [*VIDEOS, 'A_1_L_#2,test']
    clips = ipn_hand.read_clips(*write(tmp_path, [*SEGMENTS, 'A_1_L_#2,G01,1,9'], videos))
    assert ipn_hand.hold_out(clips, 0, 0) == set()
    with pytest.raises(errors.InputError, match='=1, expected 0 to 0'):
        ipn_hand.hold_out(clips, 1, 0)
