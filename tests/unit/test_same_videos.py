import types

import pytest

from preprocessing import clips as clips_lib
from preprocessing import clips_from_folder, clips_from_table, same_videos, splits, video_tables
from preprocessing.extraction import video_files
from slr_jax import errors


def make(directory, contents):
    for path, content in contents.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory


def clip(file, split='train', gloss='a', start=1, end=clips_lib.TO_THE_END):
    return clips_lib.Clip(file, file, 0, gloss, split, frame_start=start, frame_end=end)


def assign(directory, *, table=None, **options):
    """The clips of a directory, or of a table, with their splits, and the lines that the command prints."""
    if table:
        clips, _ = clips_from_table.make_clips([str(table)], str(directory), video_tables.Options())
    else:
        clips, _ = clips_from_folder.make_clips(str(directory))
    defaults = {'split_by': 'random', 'validation': None, 'test': None, 'seed': 0, 'copies': 'leave_out'}
    return splits.assign_by_flags(clips, types.SimpleNamespace(**defaults | options), str(directory))[:2]


@pytest.mark.parametrize(
    'name',
    ['1_flip', '1_flipped', '1-hflip', '1_mirror', '1_bright', '1_dark_2', '1 - Copy', '1 - Copy (2)', '1 (1)',
     '1_rot90', '1_crop', '1_noise', '1_aug1', '1_copy', '1_flip_bright', '1.flip', '1_rotated_15', '1_Kopie',
     '1_fliplr', '1_flip_horizontal', '1_gaussian_noise', '1_rot_-10', '1_speed_0.9x', '1 (copy)', '1 (another copy)',
     'Copy of 1', 'Kopie von 1', 'flip_1', 'aug0_1', 'mirrored-1', '1_dup'],
)  # fmt: skip
def test_names_of_copies(name):
    assert video_files.original_name(f'hello/{name}.mp4') == 'hello/1'
    assert video_files.original_name(f'hello/{name}') == 'hello/1'


@pytest.mark.parametrize(
    'name', ['1', 'anna_1', 'copy', 'flip', 'overflip', 'notebook', 'a_b', '1_2', '(1)', 'no_crops']
)
def test_names_of_others(name):
    assert video_files.original_name(f'{name}.mp4') == name


def test_videos_of_equal_bytes(tmp_path):
    make(
        tmp_path, {'a.mp4': b'1234', 'b.mov': b'1234', 'c.mp4': b'1235', 'd.mp4': b'12345', 'e.mp4': b'', 'f.mp4': b''}
    )
    make(tmp_path, {f'{folder}/{i}.png': bytes([i]) * 9 for folder in ('x', 'y') for i in range(3)})
    make(tmp_path, {f'z/{i}.png': bytes([2 - i]) * 9 for i in range(3)})
    clips = [
        clip(name) for name in ('a.mp4', 'b.mov', 'c.mp4', 'd.mp4', 'e.mp4', 'f.mp4', 'x', 'y', 'z', 'lacking.mp4')
    ]
    assert same_videos.find_equal(clips, str(tmp_path)) == [[0, 1], [6, 7]]


def test_parts_of_one_video_are_copies_where_they_overlap(tmp_path):
    make(tmp_path, {'a.mp4': b'1234', 'b.mp4': b'1234'})
    parts = [
        ('a.mp4', 1, 20),
        ('a.mp4', 20, 40),
        ('b.mp4', 3, 22),
        ('b.mp4', 41, 60),
        ('a.mp4', 42, -1),
        ('b.mp4', 42, -1),
    ]
    clips = [clip(file, start=start, end=end) for file, start, end in parts]
    assert same_videos.find_equal(clips, str(tmp_path)) == [[0, 2], [4, 5]]


@pytest.mark.parametrize('seed', range(5))
def test_a_draw_keeps_copies_together(tmp_path, seed):
    contents = {}
    for gloss in ('bye', 'hello'):
        for take in range(6):
            own = f'{gloss}{take}'.encode()
            contents |= {
                f'{gloss}/{take}.mp4': own,
                f'{gloss}/other_{take}.mp4': own,
                f'{gloss}/{take}_flip.mp4': own[::-1],
            }
    clips, out = assign(make(tmp_path / 'v', contents), seed=seed)
    assert len(clips) == len(contents)
    found_splits = {}
    for found in clips:
        take = next(character for character in found.file if character.isdecimal())
        found_splits.setdefault((found.gloss, take), set()).add(found.split)
    assert all(len(found) == 1 for found in found_splits.values())
    assert {split for found in found_splits.values() for split in found} == {'train', 'validation', 'test'}
    assert 'equal videos, kept in one split: bye/0.mp4 (2 clips), ' in out
    assert 'names of copies, such as a_flip of a, kept in one split: bye/0.mp4 (2 clips), ' in out


def test_numbered_recordings_are_no_copies(tmp_path):
    contents = {f'{gloss}/v ({i}).mp4': f'{gloss}{i}'.encode() for gloss in 'ab' for i in range(10)}
    clips, _ = assign(make(tmp_path / 'v', contents))
    assert {(found.gloss, found.split) for found in clips} == {
        (gloss, split) for gloss in 'ab' for split in ('train', 'validation', 'test')
    }


def test_numbered_recordings_in_given_splits_are_not_warned_of(tmp_path):
    splits_of_takes = ['train', 'train', 'val', 'test']
    contents = {
        f'{split}/{gloss}/v ({i}).mp4': f'{gloss}{i}'.encode()
        for gloss in 'ab'
        for i, split in enumerate(splits_of_takes)
    }
    _, out = assign(make(tmp_path / 'v', contents))
    assert 'names' not in out


def test_slow_and_fast_of_a_signer_are_of_that_signer(tmp_path):
    names = [
        f'{gloss}/{signer}_{speed}.mp4' for gloss in 'xy' for signer in ('anna', 'ben') for speed in ('slow', 'fast')
    ]
    clips, _ = assign(make(tmp_path / 'v', {name: name.encode() for name in names}))
    assert {(found.file[2:5], found.signer_id) for found in clips} == {('ann', 'anna'), ('ben', 'ben')}


def test_copies_are_of_one_signer(tmp_path):
    names = ['00335', '00335_flip', '00335 - Copy', 'anna_1', 'anna_1_flip', 'ben_1 (1)']
    clips, _ = assign(make(tmp_path / 'v', {f'{gloss}/{name}.mp4': b'' for name in names for gloss in 'ab'}))
    signers = {found.file.split('/')[1]: found.signer_id for found in clips}
    assert [signers[f'{name}.mp4'] for name in names] == ['', '', '', 'anna', 'anna', 'ben']


@pytest.fixture
def given(tmp_path):
    """Splits that share recordings: x in train and test, y in validation and test; z's names say so."""
    contents = {
        'train/a/x.mp4': b'x', 'train/b/1.mp4': b'other', 'test/a/renamed.mp4': b'x', 'test/b/y.mp4': b'yy',
        'val/b/y2.mp4': b'yy', 'val/a/3.mp4': b'3333', 'train/a/z.mp4': b'zzz', 'test/a/z_flip.mp4': b'flipped',
    }  # fmt: skip
    return make(tmp_path / 'v', contents)


def test_given_splits_lose_copies(given):
    clips, out = assign(given)
    assert {found.file for found in clips} == {
        'train/a/x.mp4', 'train/b/1.mp4', 'test/b/y.mp4', 'val/a/3.mp4', 'train/a/z.mp4', 'test/a/z_flip.mp4'
    }  # fmt: skip
    assert (
        '2 clips are of videos whose copies are in another split: test/a/renamed.mp4 (test) = train/a/x.mp4 (train)'
        in out
    )
    assert 'names say that clips of several splits are of one recording: ' in out
    assert 'test/a/z_flip.mp4 (test) and train/a/z.mp4 (train)' in out


@pytest.mark.parametrize('suffix', ['.mp4', '.jpg', '.PNG', '.a'])
def test_numbers_of_several_splits_are_no_copies(suffix):
    names = [f'{split}/x/1{suffix}' for split in ('train', 'test')]
    clips = [clip(name, name.split('/')[0]) for name in names]
    assert same_videos._find_split_names(clips) == []


@pytest.mark.parametrize('suffix', ['.jpg', '.PNG'])
def test_copies_of_stills(suffix):
    assert video_files.original_name(f'hello/1_flip{suffix}') == 'hello/1'


def test_warn_and_refuse(given, tmp_path):
    table = tmp_path / 'table.csv'
    table.write_text(
        'file,gloss,split\ntrain/a/x.mp4,a,train\ntest/a/renamed.mp4,b,test\ntrain/b/1.mp4,b,train\nval/b/y2.mp4,a,test\n'
    )
    clips, out = assign(given, table=table, copies='warn')
    assert len(clips) == 4
    assert 'warning: 1 clips are of videos whose copies are in another split' in out
    assert 'warning: 1 videos are there under several glosses: train/a/x.mp4 (a) = test/a/renamed.mp4 (b)' in out
    values = [clip('train/a/x.mp4'), clip('test/a/renamed.mp4', 'test')]
    with pytest.raises(errors.InputError, match=r'1 clips are of videos .*expected none with --copies=refuse'):
        same_videos.check(values, same_videos.find_equal(values, str(given)), str(given), 'refuse')


@pytest.mark.parametrize('part', ['_noise......', '_noise(1)', '__noise__1', ' (1)'])
def test_no_name_takes_long(part):
    name = f'a{part * 20}!'
    assert video_files.original_name(name) == name
