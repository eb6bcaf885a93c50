from collections import Counter
import csv
import json
import re

import pytest

from preprocessing import clips as clips_lib
from preprocessing import wlasl
from slr_jax import errors
from tests import in_process

COLUMNS = (
    'gloss_number', 'gloss_name', 'instance_id', 'video_id', 'split', 'bbox', 'signer_id', 'variation_id', 'fps',
    'frame_start', 'frame_end', 'source', 'url',
)  # fmt: skip
SPLITS = {'train': 'train', 'val': 'validation', 'test': 'test'}
INSTANCE = {
    'bbox': [1, 2, 3, 4], 'fps': 25, 'frame_end': -1, 'frame_start': 1, 'instance_id': 0, 'signer_id': 7,
    'source': 'asl', 'split': 'train', 'url': 'http://a.org/book.mp4', 'variation_id': 0, 'video_id': '00001',
}  # fmt: skip
COUNTS = {100: {'train': 1442, 'val': 338, 'test': 258}, 300: {'train': 3549, 'val': 900, 'test': 668}}


@pytest.fixture
def convert(tmp_path, capfd, monkeypatch):
    def run(path, *options):
        argv = ['preprocessing.wlasl', f'--json={path}', f'--output_dir={tmp_path}/out', *options]
        assert in_process.run_here(argv, capfd, monkeypatch) == (0, '')
        return tmp_path / 'out'

    return run


def read(path, delimiter):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def read_instances(path):
    """Each instance of a JSON, with the number and the name of its gloss."""
    content = json.loads(path.read_text())
    return [(number, entry['gloss'], each) for number, entry in enumerate(content) for each in entry['instances']]


@pytest.mark.parametrize('size', [100, 300])
def test_published_table_is_the_json(shared, convert, size):
    source = shared / 'annotations' / f'wlasl{size}_v0.3.json'
    out = convert(source)
    subsets = [subset for subset in (100, 300) if subset <= size]
    names = ['WLASL', *(f'WLASL{subset}' for subset in subsets)]
    files = {name for table in names for name in (f'{table}_v0.3.csv', f'clips_{table}.csv')}
    assert {path.name for path in out.iterdir()} == files
    instances = read_instances(source)
    for subset in subsets:
        path = out / f'WLASL{subset}_v0.3.csv'
        assert path.read_text().splitlines()[0] == ';'.join(COLUMNS)
        expected = [
            {'gloss_number': str(number), 'gloss_name': gloss} | {key: str(value) for key, value in instance.items()}
            for number, gloss, instance in instances
            if number < subset
        ]
        rows = read(path, ';')
        assert rows == expected
        assert Counter(row['split'] for row in rows) == COUNTS[subset]
        assert len({row['gloss_name'] for row in rows}) == subset
    assert (out / 'WLASL_v0.3.csv').read_bytes() == (out / f'WLASL{size}_v0.3.csv').read_bytes()


def test_a_published_line(shared, convert):
    line = convert(shared / 'annotations' / 'wlasl100_v0.3.json').joinpath('WLASL100_v0.3.csv').read_text().split('\n')
    assert line[1] == (
        '0;book;0;69241;train;[385, 37, 885, 720];118;0;25;1;-1;aslbrick;http://aslbricks.org/New/ASL-Videos/book.mp4'
    )
    assert line[-1] == ''


@pytest.mark.parametrize('raw_videos', [False, True])
def test_clips_table_is_the_json(shared, convert, raw_videos):
    source = shared / 'annotations' / 'wlasl100_v0.3.json'
    clips = clips_lib.read_clips(str(convert(source, f'--raw_videos={raw_videos}') / 'clips_WLASL100.csv'))
    expected = []
    for number, gloss, instance in read_instances(source):
        name, start, end = instance['video_id'], 1, -1
        if raw_videos and ('youtube.com/' in instance['url'] or 'youtu.be/' in instance['url']):
            name = re.fullmatch(r'.*(?:youtube\.com/watch\?v=|youtu\.be/)([\w-]{11})', instance['url'])[1]
        if raw_videos and instance['frame_end'] != -1:
            start, end = instance['frame_start'], instance['frame_end']
        clip = clips_lib.Clip(
            video_id=instance['video_id'],
            file=f'{name}.mp4',
            label=number,
            gloss=gloss,
            split=SPLITS[instance['split']],
            signer_id=str(instance['signer_id']),
            frame_start=start,
            frame_end=end,
            fps=25,
            bbox=' '.join(str(side) for side in instance['bbox']),
            source=instance['source'],
        )
        expected.append(clip)
    assert clips == expected
    assert Counter(clip.split for clip in clips) == {'train': 1442, 'validation': 338, 'test': 258}
    assert {clip.label for clip in clips} == set(range(100))
    cut = [clip for clip in clips if clip.num_frames]
    assert len(cut) == (205 if raw_videos else 0)


def test_raw_videos_by_name(shared, convert):
    clips = clips_lib.read_clips(
        str(convert(shared / 'annotations' / 'wlasl100_v0.3.json', '--raw_videos') / 'clips_WLASL.csv')
    )
    found = {clip.video_id: (clip.file, clip.frame_start, clip.frame_end) for clip in clips}
    assert found['70212'] == ('hjS0dQDgbjo.mp4', 2150, 2249)
    assert found['67424'] == ('3-GrhsVs830.mp4', 1, -1)
    assert found['69241'] == ('69241.mp4', 1, -1)


@pytest.mark.parametrize(('option', 'sizes'), [('2,7', (2, 7)), ('100', (100,)), ('', ())])
def test_chosen_subsets(shared, convert, option, sizes):
    source = shared / 'annotations' / 'wlasl100_v0.3.json'
    out = convert(source, f'--num_glosses={option}')
    tables = {'WLASL': 100} | {f'WLASL{size}': size for size in sizes}
    assert {path.name for path in out.iterdir()} == {
        name for table in tables for name in (f'{table}_v0.3.csv', f'clips_{table}.csv')
    }
    for table, size in tables.items():
        expected = [instance['video_id'] for number, _, instance in read_instances(source) if number < size]
        assert [row['video_id'] for row in read(out / f'{table}_v0.3.csv', ';')] == expected
        clips = clips_lib.read_clips(str(out / f'clips_{table}.csv'))
        assert [clip.video_id for clip in clips] == expected
        assert {clip.label for clip in clips} == set(range(size))


def entries(**change):
    return [
        {'gloss': 'book', 'instances': [INSTANCE]},
        {'gloss': 'drink', 'instances': [INSTANCE | {'video_id': '00002'}, INSTANCE | {'video_id': '00003'} | change]},
    ]


def without(field):
    content = entries()
    content[1]['instances'][1] = {key: value for key, value in INSTANCE.items() if key != field}
    return content


BAD = {
    'empty': (b'', ' is damaged, expected JSON: Expecting value'),
    'cut': (json.dumps(entries())[:-30].encode(), ' is damaged, expected JSON: '),
    'no text': (b'\xff\xfe\x00', ' is damaged, expected JSON: .*codec'),
    'empty list': ([], ' holds no instances'),
    'object': ({'gloss': 'book'}, ' holds a dict, expected .*list'),
    'number': (3, ' holds a int, expected .*list'),
    'entry a text': ([*entries(), 'book'], ', entry 2: expected an object with gloss and instances'),
    'entry without gloss': ([{'instances': [INSTANCE]}], ', entry 0: expected an object with gloss and instances'),
    'entry without instances': ([*entries(), {'gloss': 'a'}], ', entry 2: expected an object with gloss and instances'),
    'entry of one instance': (
        [{'gloss': 'a', 'instances': INSTANCE}],
        ', entry 0: expected an object with gloss and instances',
    ),
    'gloss a number': ([{'gloss': 5, 'instances': [INSTANCE]}], ', entry 0: gloss is 5, expected text'),
    'instance a text': ([{'gloss': 'a', 'instances': ['00001']}], ", gloss 'a': an instance has no 'instance_id'"),
    **{
        f'without {field}': (without(field), f", gloss 'drink': an instance has no '{field}'")
        for field in INSTANCE
    },
    **{
        f'{field} {value!r}': (
            entries(**{field: value}),
            f", gloss 'drink', video 00003: {field} is {re.escape(repr(value))}, expected {expected}",
        )
        for field, value, expected in (
            ('split', 'dev', 'train, val, test'),
            ('split', ['train'], 'train, val, test'),
            ('bbox', '1 2 3 4', 'a list'),
            ('fps', '25', 'a number'),
            ('frame_end', None, 'a whole number'),
            ('frame_start', '1', 'a whole number'),
            ('frame_start', 1.5, 'a whole number'),
            ('url', None, 'text'),
        )
    },
    'video_id a number': (entries(video_id=3), ", gloss 'drink', video 3: video_id is 3, expected text"),
}  # fmt: skip


@pytest.mark.parametrize(('content', 'words'), BAD.values(), ids=BAD)
def test_bad_json(tmp_path, content, words):
    path = tmp_path / 'WLASL.json'
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(errors.InputError, match=f'^{re.escape(str(path))}{words}'):
        wlasl.read_wlasl(str(path))


def test_good_json_next_to_the_bad_ones(tmp_path):
    (tmp_path / 'WLASL.json').write_text(json.dumps(entries()))
    rows = wlasl.read_wlasl(str(tmp_path / 'WLASL.json'))
    assert [(row['gloss_number'], row['gloss_name'], row['video_id']) for row in rows] == [
        (0, 'book', '00001'), (1, 'drink', '00002'), (1, 'drink', '00003'),
    ]  # fmt: skip
    assert tuple(rows[0]) == COLUMNS


def test_some_glosses(tmp_path, convert):
    content = [*entries(), {'gloss': 'eat', 'instances': [INSTANCE | {'video_id': '00004'}]}]
    (tmp_path / 'wlasl.json').write_text(json.dumps(content))
    out = convert(tmp_path / 'wlasl.json', '--glosses=eat,book')
    assert {path.name for path in out.iterdir()} == {'WLASL_v0.3.csv', 'clips_WLASL.csv'}
    clips = clips_lib.read_clips(str(out / 'clips_WLASL.csv'))
    assert [(clip.video_id, clip.label, clip.gloss) for clip in clips] == [('00001', 0, 'book'), ('00004', 1, 'eat')]
    assert [row['gloss_number'] for row in read(out / 'WLASL_v0.3.csv', ';')] == ['0', '1']
