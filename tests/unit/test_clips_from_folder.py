from collections import Counter
import dataclasses
import re

import pytest

from preprocessing import clips as clips_lib
from preprocessing import clips_from_folder, splits
from slr_jax import errors
from tests import in_process


def make(directory, *paths):
    for path in paths:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).touch()
    return directory


@pytest.fixture
def videos(tmp_path):
    """Three classes, ten signers, of whom each signs every class twice."""
    paths = (
        f'{gloss}/s{signer}_{take}.mp4' for gloss in ('bye', 'hello', 'no') for signer in range(10) for take in (1, 2)
    )
    return make(tmp_path / 'videos', *paths)


@pytest.fixture
def convert(tmp_path, capfd, monkeypatch):
    def run(videos, *options):
        output = tmp_path / 'out' / 'clips.csv'
        argv = ['preprocessing.clips_from_folder', f'--videos={videos}', f'--output={output}', *options]
        assert in_process.run_here(argv, capfd, monkeypatch) == (0, '')
        return clips_lib.read_clips(str(output))

    return run


def test_glosses_and_signers(tmp_path, convert):
    make(
        tmp_path,
        'thank you/anna_1.mp4', 'thank you/ben/first/1.MOV', 'thank you/clip.webm', 'thank you/notes.txt',
        'thank you/.hidden.mp4', 'Äpfel/anna-m_2 (final).avi', 'Äpfel/anna-m_2.mkv', '.trash/x_1.mp4',
        'readme.mp4',
    )  # fmt: skip
    clips = convert(tmp_path, '--validation=0', '--test=0')
    assert clips == [
        clips_lib.Clip('thank_you_anna_1', 'thank you/anna_1.mp4', 0, 'thank you', 'train', 'anna'),
        clips_lib.Clip('thank_you_ben_first_1', 'thank you/ben/first/1.MOV', 0, 'thank you', 'train', 'ben'),
        clips_lib.Clip('thank_you_clip', 'thank you/clip.webm', 0, 'thank you', 'train', ''),
        clips_lib.Clip('Äpfel_anna-m_2_final_', 'Äpfel/anna-m_2 (final).avi', 1, 'Äpfel', 'train', 'anna-m'),
        clips_lib.Clip('Äpfel_anna-m_2', 'Äpfel/anna-m_2.mkv', 1, 'Äpfel', 'train', 'anna-m'),
    ]


@pytest.mark.parametrize('names', [('WLASL_train', 'WLASL_val'), ('01_Train', '02_Dev'), ('train1', 'val2')])
def test_splits_within_longer_names(tmp_path, convert, names):
    make(
        tmp_path, *(f'{name}/{gloss}/{number}.mp4' for name in names for gloss in ('book', 'drink') for number in '12')
    )
    clips = convert(tmp_path)
    assert Counter((clip.split, clip.gloss) for clip in clips) == {
        (split, gloss): 2 for split in ('train', 'validation') for gloss in ('book', 'drink')
    }


def test_a_gloss_is_one_class_however_it_is_composed(tmp_path, convert):
    make(tmp_path, 'caf\u00e9/1.mp4', 'cafe\u0301/2.mp4', 'book /1.mp4', 'book/2.mp4')
    clips = convert(tmp_path, '--validation=0', '--test=0')
    assert Counter(clip.gloss for clip in clips) == {'caf\u00e9': 2, 'book': 2}


def test_another_expression_for_the_signer(videos, convert):
    clips = convert(videos, r'--signer=_(\d)\.')
    assert Counter(clip.signer_id for clip in clips) == {'1': 30, '2': 30}


def test_random_split_has_each_class_in_each_split(videos, convert):
    first, again, other = (convert(videos, '--validation=0.2', '--test=0.1', f'--seed={seed}') for seed in (3, 3, 4))
    assert first == again
    assert first != other
    for clips in (first, other):
        assert Counter((clip.split, clip.label) for clip in clips) == {
            (split, label): count
            for split, count in (('train', 14), ('validation', 4), ('test', 2))
            for label in range(3)
        }  # fmt: skip
    keep = [(clip.video_id, clip.file, clip.signer_id) for clip in first]
    assert keep == [(clip.video_id, clip.file, clip.signer_id) for clip in other]


def test_default_split(videos, convert):
    clips = convert(videos)
    assert Counter(clip.split for clip in clips) == {'train': 42, 'validation': 9, 'test': 9}
    assert Counter(clip.label for clip in clips if clip.split == 'test') == {0: 3, 1: 3, 2: 3}


def test_no_signer_is_in_two_splits(videos, convert):
    options = ['--split_by=signer', '--validation=0.2', '--test=0.3']
    first, again, other = (convert(videos, *options, f'--seed={seed}') for seed in (3, 3, 4))
    assert first == again
    assert first != other
    for clips in (first, other):
        signers = {(clip.split, clip.signer_id) for clip in clips}
        assert len(signers) == len({signer for _, signer in signers}) == 10
        assert Counter(split for split, _ in signers) == {'train': 5, 'validation': 2, 'test': 3}


def test_a_small_fraction_is_one_signer(videos, convert):
    clips = convert(videos, '--split_by=signer', '--validation=0', '--test=0.01')
    signers = {(clip.split, clip.signer_id) for clip in clips}
    assert Counter(split for split, _ in signers) == {'train': 9, 'test': 1}


# Paths, options, and file -> gloss, split, signer of the clips.
LAYOUTS = {
    'class': (['a/1.mp4', 'b/1.mp4'], '', {'a/1.mp4': 'a--', 'b/1.mp4': 'b--'}),
    'class named train': (['book/1.mp4', 'train/1.mp4'], '', {'book/1.mp4': 'book--', 'train/1.mp4': 'train--'}),
    'split/class': (
        ['Train/a/1.mp4', 'Train/b/x_1.mp4', 'dev/a/1.mp4', 'test/b/2.mp4', 'test/stray.mp4'],
        '',
        {
            'Train/a/1.mp4': 'a-train-',
            'Train/b/x_1.mp4': 'b-train-x',
            'dev/a/1.mp4': 'a-validation-',
            'test/b/2.mp4': 'b-test-',
        },
    ),
    'class/split': (
        ['a/train/1.mp4', 'b/valid/x_1.mp4'],
        '',
        {'a/train/1.mp4': 'a-train-', 'b/valid/x_1.mp4': 'b-validation-x'},
    ),
    'signer/class': (
        ['signer01/a/1.mp4', 'signer02/a/1.mp4', 'signer02/b/1.mp4'],
        '',
        {'signer01/a/1.mp4': 'a--signer01', 'signer02/a/1.mp4': 'a--signer02', 'signer02/b/1.mp4': 'b--signer02'},
    ),
    'class/signer': (
        ['a/person_3/1.mp4', 'b/person_3/1.mp4'],
        '',
        {'a/person_3/1.mp4': 'a--person_3', 'b/person_3/1.mp4': 'b--person_3'},
    ),
    'split/signer/class': (
        ['train/P01/a/1.mp4', 'test/P02/a/1.mp4'],
        '',
        {'train/P01/a/1.mp4': 'a-train-P01', 'test/P02/a/1.mp4': 'a-test-P02'},
    ),
    'said': (
        ['anna/a/1.mp4', 'anna/b/1.mp4', 'ben/a/1.mp4', 'ben/b/1.mp4', 'ben/x.mp4'],
        '--layout=signer/class',
        {f'{signer}/{gloss}/1.mp4': f'{gloss}--{signer}' for signer in ('anna', 'ben') for gloss in 'ab'},
    ),
    'said with a level of no matter': (
        ['x/a/1.mp4', 'y/b/1.mp4'],
        '--layout=*/class',
        {'x/a/1.mp4': 'a--', 'y/b/1.mp4': 'b--'},
    ),
    'flat': (['a1.mp4', 'a2.mp4', 'b (1).mp4'], '', {'a1.mp4': 'a--', 'a2.mp4': 'a--', 'b (1).mp4': 'b--'}),
    'flat in splits': (
        ['train/a_1.mp4', 'train/a_2.mp4', 'test/b-1.mp4'],
        '',
        {'train/a_1.mp4': 'a-train-', 'train/a_2.mp4': 'a-train-', 'test/b-1.mp4': 'b-test-'},
    ),
    'pattern': (
        ['all/001_002_003.mp4', 'all/012_001_001.mp4', 'all/notes.mp4'],
        r'--pattern=(?P<gloss>\d+)_(?P<signer>\d+)_(?P<repetition>\d+)',
        {'all/001_002_003.mp4': '001--002', 'all/012_001_001.mp4': '012--001'},
    ),
    'pattern with splits': (
        ['a-train-1.mp4', 'b-val-1.mp4'],
        '--pattern=(?P<gloss>[^-]+)-(?P<split>[^-]+)-',
        {'a-train-1.mp4': 'a-train-', 'b-val-1.mp4': 'b-validation-'},
    ),
    'folders of frames': (
        ['a/x_1/0.jpg', 'a/x_1/1.jpg', 'a/y_2/f_00001.PNG', 'b/x_1/1.bmp', 'b/x_2.mp4', 'b/cover_1.jpg'],
        '',
        {'a/x_1': 'a--x', 'a/y_2': 'a--y', 'b/x_1': 'b--x', 'b/x_2.mp4': 'b--x'},
    ),
    'some glosses': (['a/1.mp4', 'b/1.mp4', 'c/1.mp4'], '--glosses=c,a', {'a/1.mp4': 'a--', 'c/1.mp4': 'c--'}),
}


@pytest.mark.parametrize(('paths', 'options', 'expected'), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path, convert, paths, options, expected):
    clips = convert(make(tmp_path / 'videos', *paths), *options.split())
    has_splits = any('train' in text.split('-')[1] for text in expected.values())
    found = {clip.file: f'{clip.gloss}-{clip.split if has_splits else ""}-{clip.signer_id}' for clip in clips}
    assert found == expected
    assert sorted({(clip.label, clip.gloss) for clip in clips}) == list(
        enumerate(sorted({clip.gloss for clip in clips}))
    )


def test_a_split_that_is_absent_is_drawn_from_train(tmp_path, convert):
    paths = [f'{split}/{gloss}/{take}.mp4' for split in ('train', 'test') for gloss in 'ab' for take in range(10)]
    clips = convert(make(tmp_path / 'videos', *paths), '--validation=0.2')
    assert Counter(clip.split for clip in clips) == {'train': 16, 'validation': 4, 'test': 20}
    assert all(clip.file.startswith('test/') for clip in clips if clip.split == 'test')


def test_every_class_has_its_clips_in_every_split(tmp_path, convert):
    paths = [f'{gloss:02d}/{take}.mp4' for gloss in range(20) for take in range(7)]
    clips = convert(make(tmp_path / 'videos', *paths))
    counts = Counter((clip.gloss, clip.split) for clip in clips)
    assert len(counts) == 60
    assert Counter(clip.split for clip in clips) == {'train': 98, 'validation': 21, 'test': 21}


def test_signers_of_several_splits_are_named(tmp_path, capfd, monkeypatch):
    videos = make(tmp_path / 'videos', *(f'{gloss}/{who}_{i}.mp4' for gloss in 'ab' for who in 'xyz' for i in range(8)))
    argv = ['preprocessing.clips_from_folder', f'--videos={videos}', f'--output={tmp_path}/clips.csv']
    for options, count in (([], 1), (['--split_by=signer'], 0)):
        assert in_process.run_here([*argv, *options], capfd, monkeypatch)[0] == 0
        assert len(clips_lib.note_signers(clips_lib.read_clips(str(tmp_path / 'clips.csv')))) == count
    undrawn, _ = clips_from_folder.make_clips(str(videos))
    clips, line = splits.assign(undrawn)
    (note,) = clips_lib.note_signers(clips)
    assert '100% of the validation clips and 100% of the test clips are in train, too' in note
    assert '--split_by=signer' in note
    assert 'unknown' not in line
    _, line = splits.assign([dataclasses.replace(clip, signer_id='') for clip in undrawn])
    assert line.endswith('; signers are unknown')


def test_links(tmp_path, convert):
    make(tmp_path, 'real/1.mp4', 'real/deep/2.MOV', 'videos/a/3.mts', 'videos/a/4.GIF', 'videos/b/5.flv')
    (tmp_path / 'videos' / 'a' / 'anna').symlink_to(tmp_path / 'real')
    (tmp_path / 'real' / 'deep' / 'up').symlink_to(tmp_path / 'real')
    (tmp_path / 'videos' / 'b' / 'loop').symlink_to(tmp_path / 'videos')
    (tmp_path / 'videos' / 'b' / 'gone.mp4').symlink_to(tmp_path / 'nowhere.mp4')
    (tmp_path / 'videos' / 'b' / 'file.mp4').symlink_to(tmp_path / 'real' / '1.mp4')
    clips = convert(tmp_path / 'videos', '--validation=0', '--test=0')
    assert [clip.file for clip in clips] == [
        'a/3.mts', 'a/4.GIF', 'a/anna/1.mp4', 'a/anna/deep/2.MOV', 'b/5.flv', 'b/file.mp4',
    ]  # fmt: skip


def test_what_is_understood_and_passed_over_is_said(tmp_path):
    videos = make(
        tmp_path,
        *('train/a/1.mp4', 'test/b/1.mp4', 'train/stray.mp4', 'train/a/.x.mp4', 'test/a/notes.txt'),
        *(f'train/a/{number}.txt' for number in range(4)),
    )
    clips, lines = clips_from_folder.make_clips(str(videos))
    assert lines == [
        'split/class layout: 2 splits, 2 glosses: a, b',
        'passed over, not videos: 5 (test/a/notes.txt, train/a/0.txt, train/a/1.txt, …)',
        'passed over, hidden: 1 (train/a/.x.mp4)',
        'passed over, folders without videos: 1 (test/a)',
        'passed over, not in the folder of a class: 1 (train/stray.mp4)',
    ]
    _, line = splits.assign(clips, validation=0)
    assert line == 'splits: train, test as given'


# Paths, and file -> gloss, split, signer of the clips with --stills.
STILLS = {
    'letters': (
        ['A/A1.jpg', 'A/A2.jpg', 'B/B1.jpg', 'B/clip.mp4', 'B/notes.txt'],
        {'A/A1.jpg': 'A--', 'A/A2.jpg': 'A--', 'B/B1.jpg': 'B--', 'B/clip.mp4': 'B--'},
    ),
    'names of a camera': (
        ['0/1118.JPG', '1/1119.JPG'],
        {'0/1118.JPG': '0--', '1/1119.JPG': '1--'},
    ),
    'cropped': (
        ['a/hand1_a_bot_seg_1_cropped.jpeg', 'b/hand2_b_top.jpeg'],
        {'a/hand1_a_bot_seg_1_cropped.jpeg': 'a--hand1', 'b/hand2_b_top.jpeg': 'b--hand2'},
    ),
    'splits': (
        ['train/A/1.png', 'valid/A/1.png', 'test/A_test.png'],
        {'train/A/1.png': 'A-train-', 'valid/A/1.png': 'A-validation-'},
    ),
    'signers': (
        ['user_1/A/1.png', 'user_2/A/1.png', 'user_2/B/1.png'],
        {'user_1/A/1.png': 'A--user_1', 'user_2/A/1.png': 'A--user_2', 'user_2/B/1.png': 'B--user_2'},
    ),
    'a folder in one of its name': (
        ['asl_train/asl_train/A/A1.jpg', 'asl_train/asl_train/B/B1.jpg', 'asl_test/asl_test/A_test.jpg'],
        {'asl_train/asl_train/A/A1.jpg': 'A-train-', 'asl_train/asl_train/B/B1.jpg': 'B-train-'},
    ),
    'flat names': (
        ['hello_1.png', 'hello_2.png', 'no_1.png'],
        {'hello_1.png': 'hello--', 'hello_2.png': 'hello--', 'no_1.png': 'no--'},
    ),
}  # fmt: skip


@pytest.mark.parametrize(('paths', 'expected'), STILLS.values(), ids=STILLS)
def test_each_still_is_a_clip(tmp_path, paths, expected):
    clips, _ = clips_from_folder.make_clips(str(make(tmp_path, *paths)), stills=True)
    assert {clip.file: f'{clip.gloss}-{clip.split}-{clip.signer_id}' for clip in clips} == expected
    assert {clip.video_id for clip in clips} == {re.sub(r'\.\w+$', '', path).replace('/', '_') for path in expected}


def test_each_folder_of_numbered_images_is_a_clip(tmp_path):
    make(tmp_path, 'a/1.jpg', 'a/2.jpg', 'b/1.jpg')
    clips, _ = clips_from_folder.make_clips(str(tmp_path), stills=False, pattern='(?P<gloss>.)')
    assert [(clip.file, clip.gloss) for clip in clips] == [('a', 'a'), ('b', 'b')]


def test_images_next_to_videos_are_passed_over(tmp_path):
    make(tmp_path, 'a/1.mp4', 'a/thumbs/x.jpg', 'b/1.mp4', 'b/cover.jpg')
    clips, lines = clips_from_folder.make_clips(str(tmp_path))
    assert [clip.file for clip in clips] == ['a/1.mp4', 'b/1.mp4']
    assert 'passed over, not videos: 2 (a/thumbs/x.jpg, b/cover.jpg)' in lines


def test_names_that_may_be_the_glosses(tmp_path):
    _, lines = clips_from_folder.make_clips(str(make(tmp_path, 'x/a.mp4', 'x/b.mp4', 'y/a.mp4', 'y/b.mp4')))
    assert 'every folder holds a, b: if those are the glosses, give --pattern=' in lines[1]


EITHER = ('stills or clips of frames', '--stills', '--nostills')
# Paths, options, and facts of the refusal.
UNSURE = {
    'crossed folders': (
        ['x/a/1.mp4', 'x/b/1.mp4', 'y/a/1.mp4'],
        '',
        ['(a)', 'x, y', '--layout=signer/class', '--layout=class/signer'],
    ),
    'folders of signers': (['P01/a.mp4', 'P02/a.mp4'], '', ['P01, P02', 'signers', '--pattern=', '--layout=class']),
    'more signers than others': (
        ['user1/a/1.mp4', 'user2/a/1.mp4', 'new/a/1.mp4'],
        '',
        ['user1, user2', 'signers', '--layout='],
    ),
    'splits and others': (
        ['train/a/1.mp4', 'test/a/1.mp4', 'extra/a/1.mp4'],
        '',
        ['test, train', 'splits', 'extra', '--layout=class'],
    ),
    'one folder above': (['all/a/1.mp4', 'all/b/1.mp4'], '', ['all', 'a, b', '--videos={d}/all']),
    'flat names of numbers': (
        ['001_002_003.mp4', '002_001_001.mp4'],
        '',
        ['{d} holds no folders', "--pattern='(?P<gloss>"],
    ),
    'the same in one folder': (
        ['all/001_002_003.mp4', 'all/002_001_001.mp4'],
        '',
        ['{d}/all holds no', "--pattern='(?P<gloss>"],
    ),
    'flat names of words': (['a_anna_1.mp4', 'b_anna_1.mp4'], '', ["--pattern='(?P<gloss>"]),
    'frames or stills': (['1/1.jpg', '2/1.jpg'], '', ['{d} holds 2 folders of numbered images (1, 2)', *EITHER]),
    'frames or stills, in splits': (['train/a/1.jpg', 'val/a/1.jpg'], '', ['2 folders', 'train/a, val/a', *EITHER]),
    'frames or stills, of signers': (['user1/a/1.jpg', 'user2/a/1.jpg'], '', ['(user1/a, user2/a)', *EITHER]),
    'frames or stills, by a pattern': (['a/1.jpg', 'b/1.jpg'], '--pattern=(?P<gloss>[a-z])', ['(a, b)', *EITHER]),
    'frames or stills, a clip per class': (
        ['letter_a/1.jpg', 'letter_b/1.jpg'],
        '--pattern=letter_(?P<gloss>.)',
        ['(letter_a, letter_b)', *EITHER],
    ),
    'frames or stills, pattern with signer': (
        ['anna/a/1.jpg', 'ben/a/1.jpg'],
        '--pattern=(?P<signer>[^/]+)/(?P<gloss>[^/]+)',
        ['(anna/a, ben/a)', *EITHER],
    ),
    'frames as a class': (['a/1.mp4', 'b/1.jpg'], '', ['{d} holds 1 folder of numbered images (b)', *EITHER]),
    'frames that are not stills': (['a/1.mp4', 'b/1.jpg'], '--nostills', ['{d}/b holds no video']),
    'frames alone that are not stills': (['1/1.jpg', '2/1.jpg'], '--nostills', ['folders of frames (1, 2)']),
    'stills by name': (
        ['a/x.jpg', 'a/y.jpg', 'b/z.JPEG'],
        '',
        ['{d}/a, the first of 2 such folders, holds', 'stills (x.jpg, y.jpg)', '--stills'],
    ),
    'stills of one class': (['a/1.mp4', 'b/x.png'], '', ['{d}/b holds stills (x.png)', '--stills']),
    'stills without folders': (['a.png', 'b.png'], '', ['{d} holds stills (a.png, b.png)', '--stills']),
    'stills of two numberings': (['a/x/l1.png', 'a/x/r1.png'], '', ['{d}/a/x holds stills (l1.png, r1.png)']),
    'stills of a camera': (['a/x/IMG_17.png', 'a/x/IMG_90.png'], '', ['{d}/a/x holds stills', '--stills']),
    'no layout': (['a/1.mp4'], '--layout=split/word', ['--layout=split/word', 'class', 'signer']),
    'unknown split': (['a/1.mp4', 'x/b/1.mp4'], '--layout=split/class', ['x/b/1.mp4', "'x'", 'train', 'validation']),
    'layout and pattern': (['a/1.mp4'], '--layout=class --pattern=(?P<gloss>a)', ['--layout', '--pattern']),
    'pattern': (['a/1.mp4'], '--pattern=(', ['--pattern=(', 'regular expression']),
    'pattern without a gloss': (['a/1.mp4'], '--pattern=(?P<signer>a)', ['--pattern=(?P<signer>a)', "'gloss'"]),
    'pattern with another group': (['a/1.mp4'], '--pattern=(?P<gloss>a)(?P<x>b)', ["'x'", 'gloss', 'repetition']),
    'pattern that matches nothing': (
        ['a/1.mp4'],
        '--pattern=(?P<gloss>z)',
        ['--pattern=(?P<gloss>z)', '1 videos', 'a/1.mp4'],
    ),
    'unknown glosses': (['a/1.mp4', 'b/1.mp4'], '--glosses=a,c,d', ['c, d', '2 glosses: a, b']),
    'a fraction of a split that is there': (
        ['val/a/1.mp4', 'train/a/1.mp4'],
        '--validation=0.1',
        ['--validation', 'already'],
    ),
}


@pytest.mark.parametrize(('paths', 'options', 'facts'), UNSURE.values(), ids=UNSURE)
def test_what_is_not_sure_is_refused(tmp_path, capfd, monkeypatch, paths, options, facts):
    directory = make(tmp_path / 'videos', *paths)
    argv = [f'--videos={directory}', f'--output={tmp_path}/clips.csv', *options.split()]
    status, stderr = in_process.run_here(['preprocessing.clips_from_folder', *argv], capfd, monkeypatch)
    in_process.check_refusal(status, stderr, [fact.replace('{d}', str(directory)) for fact in facts])
    assert not (tmp_path / 'clips.csv').exists()


BAD = {
    'no directory': (
        ['a/x_1.mp4'],
        '/nowhere',
        '',
        '{d}/nowhere is not a directory, expected one with a folder per class',
    ),
    'a file': (['a'], '/a', '', '{d}/a is not a directory, expected one with a folder per class'),
    'no folders': (['x_1.mp4', '.hidden/x_1.mp4'], '', '', '{d} holds no folders, expected one per class'),
    'folder without videos': (['a/x_1.mp4', 'b/x.txt'], '', '', '{d}/b holds no video, expected .mp4, .mov'),
    'one id for two videos': (
        ['a/x_1.mp4', 'a/x_1.mov'],
        '',
        '',
        "{d}: a/x_1.mp4: duplicate video_id 'a_x_1' (also a/x_1.mov)",
    ),
    'shares': (['a/x_1.mp4'], '', '--validation=0.6 --test=0.4', '--validation and --test are 1 in all, expected less'),
    'shares nan': (['a/x_1.mp4'], '', '--test=nan', '--validation and --test are nan in all, expected less than 1'),
    'share negative': (['a/x_1.mp4'], '', '--test=-0.1', 'flag --test=-0.1: -0.1 is not a number in the range [0, 1]'),
    'seed': (['a/x_1.mp4'], '', '--seed=-1', 'flag --seed=-1: '),
    'split_by': (['a/x_1.mp4'], '', '--split_by=class', 'flag --split_by=class: '),
    'no group': (['a/x_1.mp4'], '', '--signer=^[a-z]', '--signer=^[a-z] is not a regular expression with a group'),
    'no expression': (['a/x_1.mp4'], '', '--signer=(', '--signer=( is not a regular expression with a group'),
    'no signer': (
        ['a/x_1.mp4', 'a/y.mp4'],
        '',
        '--split_by=signer',
        'a/y.mp4: no signer is known, which --split_by=signer needs; --signer ',
    ),
    'an optional signer': (
        ['a/x_1.mp4', 'a/y.mp4'],
        '',
        '--split_by=signer --signer=^(x)?',
        'a/y.mp4: no signer is known, which --split_by=signer needs; --signer ',
    ),
    'too few signers': (
        ['a/x_1.mp4', 'a/y_1.mp4'],
        '',
        '--split_by=signer',
        '--split_by=signer needs at least 3 signers, found 2',
    ),
    'no videos': (['a/x_1.mp4'], None, '', '--videos must be given'),
}


@pytest.mark.parametrize(('paths', 'below', 'options', 'words'), BAD.values(), ids=BAD)
def test_bad_folders(tmp_path, capfd, monkeypatch, paths, below, options, words):
    directory, output = make(tmp_path / 'videos', *paths), tmp_path / 'out' / 'clips.csv'
    before = in_process.snapshot(tmp_path)
    given = [] if below is None else [f'--videos={directory}{below}']
    argv = ['preprocessing.clips_from_folder', f'--output={output}', *given, *options.split()]
    status, stderr = in_process.run_here(argv, capfd, monkeypatch)
    in_process.check_refusal(status, stderr, [])
    assert re.match(f'error: {re.escape(words.format(d=directory, out=output))}', stderr)
    assert in_process.snapshot(tmp_path) == before


def test_a_bad_name_of_a_class(tmp_path):
    clips, _ = clips_from_folder.make_clips(str(make(tmp_path, ' /x_1.mp4')), layout='class')
    clips, _ = splits.assign(clips, test=0)
    with pytest.raises(errors.InputError, match=r"^videos:  /x_1\.mp4, column gloss: found ''"):
        clips_lib.write_clips(str(tmp_path / 'clips.csv'), clips, 'videos')
