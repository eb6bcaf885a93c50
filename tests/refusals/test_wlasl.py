"""Annotations of WLASL that are refused."""

import pytest

WLASL = 'preprocessing.wlasl --output_dir={out} --json={w}/wlasl/'
CASES = {
    'no flags': ('preprocessing.wlasl', '--json', '--output_dir'),
    'unknown flag': (WLASL + 'good.json --subset=2', 'flag --subset'),
    'no such file': (WLASL + 'nowhere.json', 'wlasl/nowhere.json', 'No such file'),
    'directory': (WLASL, '{w}/wlasl/', 'Is a directory'),
    'empty file': (WLASL + 'empty.json', 'wlasl/empty.json', 'JSON', 'line 1 column 1'),
    'cut in the middle': (WLASL + 'cut.json', 'wlasl/cut.json', 'JSON', 'line 1 column 469'),
    'noise': (WLASL + 'noise.json', 'wlasl/noise.json', 'JSON', 'utf-8'),
    'empty list': (WLASL + 'list.json', 'wlasl/list.json', 'glosses'),
    'object instead of a list': (WLASL + 'object.json', 'wlasl/object.json', 'dict', 'list'),
    'entry without instances': (WLASL + 'no_instances.json', 'no_instances.json', 'entry 2', 'gloss', 'instances'),
    'gloss is a number': (WLASL + 'gloss_number.json', 'gloss_number.json', 'entry 0', 'gloss', '1', 'text'),
    'no clips at all': (WLASL + 'none_at_all.json', 'none_at_all.json', 'instances'),
    'gloss without clips': (WLASL + 'gloss_without.json', 'wlasl/gloss_without.json', 'label 0', '0', '2'),
    'instance without a field': (WLASL + 'no_field.json', 'no_field.json', "'drink'", "'instance_id'"),
    'unknown split': (
        WLASL + 'split.json',
        *('wlasl/split.json', "'drink'", '00002', 'split', "'dev'", 'train', 'val', 'test'),
    ),
    'video_id is a number': (WLASL + 'video_id.json', 'wlasl/video_id.json', "'drink'", 'video_id', '2', 'text'),
    'video_id is a path': (WLASL + 'video_id_path.json', 'video_id_path.json', '../2.mp4', 'video_id', "'../2'", '/'),
    'video_id twice': (WLASL + 'video_id_twice.json', 'wlasl/video_id_twice.json', '00001.mp4', "'00001'"),
    'no url': (WLASL + 'url.json', 'wlasl/url.json', "'drink'", '00002', 'url', 'None', 'text'),
    'last frame before the first': (
        WLASL + 'frames.json --raw_videos',
        *('wlasl/frames.json', 'column frame_end', '5', '-1', '9', 'frame_start'),
    ),
    'no frames per second': (WLASL + 'fps.json', 'wlasl/fps.json', '00002.mp4', 'fps', '0', '1000'),
    'gloss twice': (WLASL + 'gloss_twice.json', 'wlasl/gloss_twice.json', '00002.mp4', "'book'", '0', '1'),
    'more glosses than there are': (WLASL + 'good.json --num_glosses=1,3', '--num_glosses=1,3', 'good.json', '2', '1'),
    'no glosses': (WLASL + 'good.json --num_glosses=0', '--num_glosses=0', 'wlasl/good.json', '2', '1'),
    'number of glosses is text': (WLASL + 'good.json --num_glosses=all', '--num_glosses=all', 'good.json', '2', '1'),
    'unknown gloss': (WLASL + 'good.json --glosses=book,eat', 'wlasl/good.json', '--glosses', 'eat', '2', 'drink'),
    'output is a file': (
        'preprocessing.wlasl --json={w}/wlasl/good.json --output_dir={w}/a_file',
        *('{w}/a_file', 'directory'),
    ),
}


@pytest.mark.usefixtures('wlasl')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('wlasl')
def test_good_annotations_are_taken(accept):
    accept(WLASL + 'good.json --num_glosses=1')
