from collections import Counter
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
    with pytest.raises(errors.InputError, match=r"^videos:  /x_1\.mp4, column gloss: found ' '"):
        clips_lib.write_clips(str(tmp_path / 'clips.csv'), clips, 'videos')
