"""The commands that read annotations, clips tables and landmark files, given what they cannot use."""

import json

import numpy as np
import pytest

from preprocessing import clips as clips_lib
from preprocessing.extraction import store as store_lib
from tests import in_process

NOISE = np.random.default_rng(0).bytes(3000)
DESCRIPTION = {'parts': ['hands'], 'layout': 'mediapipe_hands_pose', 'handedness': 'signer'}

WLASL = 'preprocessing.wlasl --output_dir={out} --json={w}/wlasl/'
IPN = 'preprocessing.ipn_hand --output={out}/clips.csv --annotations={w}/ipn/'
META = ' --metadata={w}/ipn/meta.csv'
FOLDER = 'preprocessing.clips_from_folder --output={out}/clips.csv '
BUILD = 'preprocessing.build_dataset --source=landmarks --name=bad --data_dir={out} --layout=mediapipe_hand '
CLIPS = BUILD + '--landmarks={w}/landmarks --clips={w}/clips/'
LANDMARKS = BUILD + '--clips={w}/clips/good.csv --landmarks={w}/'


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """A directory of good inputs and of those spoiled in one way each."""
    root = tmp_path_factory.mktemp('tables')
    for name in ('wlasl', 'ipn', 'clips', 'compact', 'csv', 'videos/hello', 'videos/thanks', 'empty'):
        (root / name).mkdir(parents=True)
    (root / 'a_file').write_text('a file\n')
    for gloss in ('hello', 'thanks'):
        (root / 'videos' / gloss / 'anna_1.mp4').touch()
    make_wlasl(root / 'wlasl')
    make_ipn(root / 'ipn')
    make_clips_and_landmarks(root)
    return root


def make_wlasl(directory):
    instance = {
        'bbox': [1, 2, 3, 4], 'fps': 25, 'frame_end': -1, 'frame_start': 1, 'instance_id': 0, 'signer_id': 7,
        'source': 'asl', 'split': 'train', 'url': 'http://a.org/book.mp4', 'variation_id': 0, 'video_id': '00001',
    }  # fmt: skip
    other = instance | {'video_id': '00002'}
    good = [{'gloss': 'book', 'instances': [instance]}, {'gloss': 'drink', 'instances': [other]}]

    def with_other(**change):
        return [good[0], {'gloss': 'drink', 'instances': [other | change]}]

    contents = {
        'good': good,
        'list': [],
        'object': {'book': 1},
        'no_instances': [*good, {'gloss': 'eat'}],
        'none_at_all': [{'gloss': 'book', 'instances': []}],
        'gloss_without': [{'gloss': 'eat', 'instances': []}, *good],
        'no_field': [good[0], {'gloss': 'drink', 'instances': [{'video_id': '1'}]}],
        'split': with_other(split='dev'),
        'video_id': with_other(video_id=2),
        'video_id_path': with_other(video_id='../2'),
        'video_id_twice': with_other(video_id='00001'),
        'url': with_other(url=None),
        'frames': with_other(frame_start=9, frame_end=5),
        'fps': with_other(fps=0),
        'gloss_twice': [good[0], {'gloss': 'book', 'instances': [other]}],
        'gloss_number': [{'gloss': 1, 'instances': [instance]}],
    }
    for name, content in contents.items():
        (directory / f'{name}.json').write_text(json.dumps(content))
    (directory / 'cut.json').write_text(json.dumps(good)[:-20])
    (directory / 'empty.json').write_text('')
    (directory / 'noise.json').write_bytes(NOISE)


def make_ipn(directory):
    def write(name, *rows, header='video,label,t_start,t_end'):
        (directory / name).write_text('\n'.join([header, *rows]))

    good = ['A_1_R_#1,B0A,1,9', 'A_2_R_#1,B0B,5,8']
    write('good.txt', *good)
    write('header.txt')
    write('column.txt', *good, header='video,gesture,t_start,t_end')
    write('gesture.txt', good[0], 'A_2_R_#1,G12,1,9')
    write('video.txt', good[0], 'A_9_R_#1,B0B,1,9')
    write('frames.txt', good[0], 'A_2_R_#1,B0B,x,9')
    write('backwards.txt', good[0], 'A_2_R_#1,B0B,9,5')
    write('twice.txt', good[0], good[0])
    write('gap.txt', good[0], 'A_2_R_#1,G11,5,8')
    write('meta.csv', 'A_1_R_#1,train', 'A_2_R_#1,train', header='Video Name,Set')
    write('set.csv', 'A_1_R_#1,train', 'A_2_R_#1,dev', header='Video Name,Set')
    write('no_set.csv', 'A_1_R_#1,train', header='Video Name,Split')
    (directory / 'noise.txt').write_bytes(NOISE)
    (directory / 'empty.txt').touch()


def make_clips_and_landmarks(root):
    clips = [clips_lib.Clip('a', 'a.mp4', 0, 'hello', 'train'), clips_lib.Clip('b', 'b.mp4', 1, 'thanks', 'test')]
    clips_lib.write_clips(str(root / 'clips' / 'good.csv'), clips)
    good = (root / 'clips' / 'good.csv').read_text()
    spoiled = {
        'empty': '',
        'header': good.splitlines()[0],
        'column': good.replace('video_id', 'name', 1),
        'twice': good.replace('b,b.mp4', 'a,b.mp4'),
        'label': good.replace('b.mp4,1', 'b.mp4,x'),
        'gap': good.replace('b.mp4,1', 'b.mp4,2'),
        'split': good.replace('test', 'dev'),
        'outside': good.replace('b.mp4', '../b.mp4'),
        'surplus': good.replace('hello', 'hello, you'),
        'others': good.replace('a,a.mp4', 'x,x.mp4').replace('b,b.mp4', 'y,y.mp4'),
        'segment': good.replace('1,-1', '2,3'),
    }
    for name, text in spoiled.items():
        (root / 'clips' / f'{name}.csv').write_text(text)
    (root / 'clips' / 'noise.csv').write_bytes(NOISE)

    points = np.random.default_rng(0).random((4, 75, 3), np.float32)
    factors = {'unseen': np.float32(np.nan), 'infinite': np.float32(np.inf)}
    for name in ('landmarks', 'damaged', 'unseen', 'infinite', 'other_format', 'mixed'):
        with store_lib.open_store(str(root / name), DESCRIPTION) as directory:
            for clip in clips:
                directory.save(clip, points * factors.get(name, np.float32(1)))
    (root / 'damaged' / 'b.npz').write_bytes((root / 'damaged' / 'b.npz').read_bytes()[:-100])
    (root / 'other_format' / 'extraction.json').write_text('{"format": "frames"}')
    (root / 'mixed' / 'a_poses_landmarks.csv').write_text('RHx0\n')
    (root / 'csv' / 'a_poses_landmarks.csv').write_text('RHx0,frame\n0.5,1\n')

    header = ','.join(['video', 'frame', *(f'{axis}{i}' for i in range(21) for axis in 'xy')])
    rows = [','.join([video, str(frame), *['0.5'] * 42]) for video in 'ab' for frame in (1, 2)]
    compact = {
        'good': [header, *rows],
        'header': [header],
        'column': [header.replace('x7', 'X7'), *rows],
        'text': [header, *rows[:-1], rows[-1].replace('0.5', 'left', 1)],
        'frame': [header, *rows[:-1], rows[-1].replace('b,2', 'b,0')],
        'twice': [header, *rows, rows[-1]],
    }
    for name, lines in compact.items():
        (root / 'compact' / f'{name}.csv').write_text('\n'.join(lines))


CASES = {
    # WLASL
    'wlasl no flags': ('preprocessing.wlasl', '--json and --output_dir must be given'),
    'wlasl unknown flag': (WLASL + 'good.json --subset=2', "Unknown command line flag 'subset'"),
    'wlasl missing': (WLASL + 'nowhere.json', 'wlasl/nowhere.json: No such file'),
    'wlasl a directory': (WLASL, '/wlasl/: Is a directory'),
    'wlasl empty': (WLASL + 'empty.json', 'wlasl/empty.json is damaged, expected JSON'),
    'wlasl cut': (WLASL + 'cut.json', 'wlasl/cut.json is damaged, expected JSON'),
    'wlasl noise': (WLASL + 'noise.json', 'wlasl/noise.json is damaged, expected JSON'),
    'wlasl list': (WLASL + 'list.json', 'wlasl/list.json holds no'),
    'wlasl object': (WLASL + 'object.json', 'wlasl/object.json holds a dict|list'),
    'wlasl no instances': (WLASL + 'no_instances.json', 'wlasl/no_instances.json, entry 2: expected an object'),
    'wlasl none at all': (WLASL + 'none_at_all.json', 'none_at_all.json holds no'),
    'wlasl gloss without': (WLASL + 'gloss_without.json', 'clips_WLASL.csv: no clip has label 0'),
    'wlasl no field': (WLASL + 'no_field.json', "no_field.json, gloss 'drink': an instance has no 'instance_id'"),
    'wlasl split': (WLASL + 'split.json', "gloss 'drink', video 00002: split is 'dev', expected train, val, test"),
    'wlasl video_id': (WLASL + 'video_id.json', "gloss 'drink', video 2: video_id is 2, expected text"),
    'wlasl video_id path': (WLASL + 'video_id_path.json', "/out/clips_WLASL.csv, row 3, column video_id|'../2'"),
    'wlasl video_id twice': (
        WLASL + 'video_id_twice.json',
        "/out/clips_WLASL.csv, row 3|video_id '00001'|row 2",
    ),
    'wlasl url': (WLASL + 'url.json', "gloss 'drink', video 00002: url is None, expected text"),
    'wlasl frames': (WLASL + 'frames.json --raw_videos', '/out/clips_WLASL.csv, row 3, column frame_end|5'),
    'wlasl fps': (WLASL + 'fps.json', '/out/clips_WLASL.csv, row 3, column fps|0'),
    'wlasl gloss twice': (
        WLASL + 'gloss_twice.json',
        "/out/clips_WLASL.csv, row 3: gloss 'book'|0|1",
    ),
    'wlasl gloss number': (WLASL + 'gloss_number.json', 'gloss_number.json, entry 0: gloss is 1, expected text'),
    'wlasl many glosses': (
        WLASL + 'good.json --num_glosses=1,3',
        '--num_glosses=1,3|good.json|1 to 2',
    ),
    'wlasl no glosses': (WLASL + 'good.json --num_glosses=0', '--num_glosses=0|good.json|1 to 2'),
    'wlasl glosses text': (WLASL + 'good.json --num_glosses=all', '--num_glosses=all|good.json|1 to 2'),
    'wlasl to a file': (
        'preprocessing.wlasl --json={w}/wlasl/good.json --output_dir={w}/a_file',
        '/a_file is a file, expected a directory',
    ),
    # IPN Hand
    'ipn no flags': ('preprocessing.ipn_hand', '--annotations and --metadata and --output must be given'),
    'ipn missing': (IPN + 'nowhere.txt' + META, 'ipn/nowhere.txt: No such file'),
    'ipn metadata missing': (IPN + 'good.txt --metadata={w}/ipn/nowhere.csv', 'ipn/nowhere.csv: No such file'),
    'ipn empty': (IPN + 'empty.txt' + META, 'ipn/empty.txt is empty'),
    'ipn noise': (IPN + 'noise.txt' + META, 'ipn/noise.txt is not a CSV file'),
    'ipn header': (IPN + 'header.txt' + META, 'ipn/header.txt has no rows'),
    'ipn column': (IPN + 'column.txt' + META, "ipn/column.txt has no column 'label', expected video, label, t_start"),
    'ipn gesture': (IPN + 'gesture.txt' + META, "ipn/gesture.txt, row 3, column label: found 'G12', expected B0A"),
    'ipn video': (IPN + 'video.txt' + META, "ipn/video.txt, row 3, column video|'A_9_R_#1'|ipn/meta.csv"),
    'ipn frames': (IPN + 'frames.txt' + META, "ipn/frames.txt, row 3, column t_start|'x'"),
    'ipn backwards': (IPN + 'backwards.txt' + META, "backwards.txt, row 3, column t_end|'5'|9"),
    'ipn twice': (IPN + 'twice.txt' + META, "row 3|video_id 'A_1_R_#1_000001_000009'|row 2"),
    'ipn gap': (IPN + 'gap.txt' + META, 'clips.csv: no clip has label 1, expected every label from 0 to 12'),
    'ipn set': (IPN + 'good.txt --metadata={w}/ipn/set.csv', "ipn/set.csv, row 3, column Set: found 'dev', expected"),
    'ipn no set': (IPN + 'good.txt --metadata={w}/ipn/no_set.csv', "ipn/no_set.csv has no column 'Set'"),
    'ipn subjects': (
        IPN + 'good.txt --validation_subjects=2' + META,
        '--validation_subjects=2|2 training subjects|0 to 1',
    ),
    'ipn subjects negative': (
        IPN + 'good.txt --validation_subjects=-1' + META,
        '--validation_subjects=-1|0 to 1',
    ),
    'ipn seed': (IPN + 'good.txt --seed=-1' + META, 'flag --seed=-1'),
    'ipn below a file': (
        'preprocessing.ipn_hand --annotations={w}/ipn/good.txt --output={w}/a_file/clips.csv' + META,
        '/a_file: File exists',
    ),
    # Folders; tests/unit/test_clips_from_folder.py has more
    'folder no flags': ('preprocessing.clips_from_folder', '--videos and --output must be given'),
    'folder missing': (FOLDER + '--videos={w}/nowhere', '/nowhere is not a directory'),
    'folder empty': (FOLDER + '--videos={w}/empty', '/empty holds no folders'),
    'folder signers': (FOLDER + '--videos={w}/videos --split_by=signer', '3 signers|found 1'),
    'folder argument': (FOLDER + '--videos={w}/videos surplus', "unexpected argument 'surplus'"),
    'folder to a directory': (
        'preprocessing.clips_from_folder --videos={w}/videos --output={w}/empty',
        '/empty: Is a directory',
    ),
    # Clips tables
    'build no clips': (
        BUILD + '--landmarks={w}/landmarks',
        '--source=landmarks needs --clips, --landmarks and --layout',
    ),
    'build no landmarks': (BUILD + '--clips={w}/clips/good.csv', '--source=landmarks needs --clips, --landmarks and'),
    'build layout': (CLIPS + 'good.csv --layout=foot', 'flag --layout=foot'),
    'build hand': (CLIPS + 'good.csv --hand=both', 'flag --hand=both|most_seen|right|left'),
    'build no layout': (
        'preprocessing.build_dataset --source=landmarks --name=bad --data_dir={out} --clips={w}/clips/good.csv '
        '--landmarks={w}/landmarks',
        '--source=landmarks needs --clips, --landmarks and --layout',
    ),
    'clips missing': (CLIPS + 'nowhere.csv', 'clips/nowhere.csv: No such file'),
    'clips a directory': (CLIPS, '/clips/: Is a directory'),
    'clips empty': (CLIPS + 'empty.csv', 'clips/empty.csv is empty'),
    'clips noise': (CLIPS + 'noise.csv', 'clips/noise.csv is not a CSV file'),
    'clips header': (CLIPS + 'header.csv', 'clips/header.csv has no rows'),
    'clips column': (CLIPS + 'column.csv', "clips/column.csv has no column 'video_id', expected video_id, file"),
    'clips twice': (CLIPS + 'twice.csv', "clips/twice.csv, row 3|video_id 'a'|row 2"),
    'clips label': (CLIPS + 'label.csv', "clips/label.csv, row 3, column label: found 'x', expected a whole number"),
    'clips gap': (CLIPS + 'gap.csv', 'clips/gap.csv: no clip has label 1, expected every label from 0 to 2'),
    'clips split': (CLIPS + 'split.csv', "clips/split.csv, row 3, column split|'dev'|train, validation, test"),
    'clips outside': (CLIPS + 'outside.csv', "clips/outside.csv, row 3, column file|'../b.mp4'"),
    'clips surplus': (CLIPS + 'surplus.csv', 'clips/surplus.csv is not a CSV file'),
    'clips of other videos': (CLIPS + 'others.csv', '/landmarks: 2 of 2 clips cannot be used, the first is x: no land'),
    'clips of other segments': (CLIPS + 'segment.csv', '/landmarks/a.npz|1 to the end of a.mp4|2 to 3'),
    # Landmarks
    'landmarks missing': (LANDMARKS + 'nowhere', '/nowhere does not exist, expected a directory of landmarks'),
    'landmarks of a directory': (LANDMARKS + 'empty', '/empty has no extraction.json, expected a directory of'),
    'landmarks other format': (LANDMARKS + 'other_format', '/other_format/extraction.json is of another kind'),
    'landmarks mixed': (LANDMARKS + 'mixed', '/mixed mixes a_poses_landmarks.csv with extraction.json'),
    'landmarks damaged': (
        LANDMARKS + 'damaged',
        '/damaged/b.npz is damaged or holds no extracted landmarks; remove it',
    ),
    'landmarks unseen': (LANDMARKS + 'unseen', '/unseen: 2 of 2 clips|the first is a: nothing seen in any frame'),
    'landmarks infinite': (LANDMARKS + 'infinite', 'bad, train: clip a holds infinite coordinates'),
    'landmarks without pose': (
        LANDMARKS + 'landmarks --layout=mediapipe_hands_pose',
        '/landmarks was extracted without pose, which layout mediapipe_hands_pose needs',
    ),
    'landmarks vision': (LANDMARKS + 'landmarks --layout=vision_api', 'layout vision_api cannot be made of landmarks'),
    'landmarks name': (LANDMARKS + 'landmarks --name=Big', "name is 'Big', expected lower-case letters"),
    'published column': (LANDMARKS + 'csv', "/csv/a_poses_landmarks.csv has no column 'RHy0', |frame"),
    'compact other layout': (
        LANDMARKS + 'compact/good.csv --layout=mediapipe_hands_pose',
        'compact/good.csv has landmarks of one hand, expected --layout=mediapipe_hand',
    ),
    'compact a text': (LANDMARKS + 'a_file', "/a_file has no column 'video', |video"),
    'compact noise': (LANDMARKS + 'clips/noise.csv', 'clips/noise.csv is not a CSV file'),
    'compact empty': (LANDMARKS + 'clips/empty.csv', 'clips/empty.csv is empty'),
    'compact header': (LANDMARKS + 'compact/header.csv', 'compact/header.csv has no rows'),
    'compact column': (LANDMARKS + 'compact/column.csv', "compact/column.csv has no column 'x7'"),
    'compact cell': (LANDMARKS + 'compact/text.csv', "compact/text.csv, row|'left'"),
    'compact frame': (LANDMARKS + 'compact/frame.csv', 'compact/frame.csv, row 5, column frame|0|1 to 1000000'),
    'compact twice': (LANDMARKS + 'compact/twice.csv', 'compact/twice.csv, row 6|frame 2'),
}
CASES = {name: (command, words.split('|')) for name, (command, words) in CASES.items()}


@pytest.mark.parametrize(('command', 'words'), CASES.values(), ids=CASES)
def test_command_refuses(world, tmp_path, capfd, monkeypatch, command, words):
    before = in_process.snapshot(world, tmp_path)
    status, stderr = in_process.run_here(in_process.argv(command, w=world, out=tmp_path / 'out'), capfd, monkeypatch)
    in_process.check_refusal(status, stderr, words)
    assert in_process.snapshot(world, tmp_path) == before


@pytest.mark.parametrize(
    'command',
    [
        WLASL + 'good.json --num_glosses=1',
        IPN + 'good.txt --validation_subjects=1' + META,
        FOLDER + '--videos={w}/videos',
        CLIPS + 'good.csv --require_all',
        LANDMARKS + 'compact/good.csv',
    ],
)
def test_command_takes_the_good_files(world, tmp_path, capfd, monkeypatch, command):
    argv = in_process.argv(command, w=world, out=tmp_path / 'out')
    assert in_process.run_here(argv, capfd, monkeypatch) == (0, '')
    assert list((tmp_path / 'out').iterdir())
