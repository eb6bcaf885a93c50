"""Good inputs, and beside each the same input spoiled in one way; the name of a file says what is wrong with it."""

import csv
import json
import os
import pickle
import shutil
import zipfile

import jax
import numpy as np

from configs import synthetic as synthetic_config
from preprocessing import clips as clips_lib
from preprocessing import synthetic
from preprocessing.extraction import store as store_lib
from preprocessing.formats import npz, tfds_writer
from slr_jax import checkpoint, dataset, files, landmarks, models, train_step
from slr_jax import workdir as workdir_lib

HAND = landmarks.LAYOUTS['mediapipe_hand']
WIDTH = 2 * HAND.num_points
NOISE = np.random.default_rng(0).bytes(3000)
SMALL_MODEL = {'num_layers': 1, 'mlp_dim': 8, 'num_epochs': 1, 'optimizer': 'sgd'}


def make_config(path, **fields):
    """The config of configs/synthetic.py, made small."""
    config = synthetic_config.get_config()
    config.update({'dataset': str(path), **SMALL_MODEL} | fields)
    return config


def make_base(root):
    """What several commands are given: files and directories of another kind, lists of names."""
    for name in ('empty_directory', 'other_directory', 'text', 'there/bad/1.0.0'):
        (root / name).mkdir(parents=True)
    (root / 'a_file').write_text('a file\n')
    (root / 'other_directory' / 'holiday.jpg').write_bytes(NOISE)
    (root / 'text' / 'empty.txt').write_text('\n')
    (root / 'text' / 'two.txt').write_text('yes\nno\n')
    (root / 'text' / 'noise.txt').write_bytes(NOISE)


def _make_tiny(name='tiny', layout=HAND, num_classes=3, counts=(4, 1, 2)):
    counts = dict(zip(dataset.SPLITS, counts, strict=True))
    return synthetic.make_dataset(name, layout, num_classes, counts, seed=1, num_informative=3)


def _spoil(good):
    """Writes what a file can be instead of the good one: empty, noise, or cut in the middle."""
    content = good.read_bytes()
    for name, spoiled in (('empty', b''), ('noise', NOISE), ('cut', content[: len(content) // 2])):
        good.with_stem(name).write_bytes(spoiled)


class Hostile:
    """What a pickle must never be allowed to do."""

    def __reduce__(self):
        return os.mkdir, ('hacked',)


# --- Archives


def make_archives(directory):
    directory.mkdir()
    path = directory / 'good.npz'
    npz.write_archive(_make_tiny(), str(path))
    _spoil(path)
    with np.load(path) as content:
        good = dict(content)
    with open(directory / 'array.npz', 'wb') as file:
        np.save(file, good['frames'])
    with zipfile.ZipFile(directory / 'photos.zip', 'w') as photos:
        photos.writestr('holiday/1.jpg', NOISE)
        photos.writestr('holiday/2.jpg', NOISE)
    (directory / 'video.npz').write_bytes(b'\x00\x00\x00\x18ftypmp42' + NOISE)
    for name, fields in (_spoiled_clips(good) | _SPOILED_DESCRIPTIONS).items():
        np.savez(directory / f'{name}.npz', **good | fields)
    for field in ('label', 'layout'):
        np.savez(directory / f'without_{field}.npz', **{key: x for key, x in good.items() if key != field})


def _spoiled_clips(good):
    frames, offsets, label = good['frames'], good['offsets'], good['label']
    nan = frames.copy()
    nan[offsets[1] : offsets[2]] = np.nan
    infinite = frames.copy()
    infinite[offsets[1], 0, 0] = np.inf
    pixels = frames.copy()
    pixels[offsets[1] : offsets[2], :, :2] *= (640, 480)
    is_train = np.repeat(good['split'] == 'train', np.diff(offsets))
    no_frames = offsets.copy()
    no_frames[1] = 0
    return {
        'label_high': {'label': np.where(np.arange(len(label)) == 1, 3, label)},
        'label_negative': {'label': np.where(np.arange(len(label)) == 1, -1, label)},
        'label_wraps': {'label': label.astype(np.int64) + 2**32},
        'label_text': {'label': np.array(['hello'] * len(label))},
        'label_float': {'label': label + 0.5},
        'label_short': {'label': label[:-1]},
        'names_short': {'video_id': good['video_id'][:-1]},
        'names_twice': {'video_id': np.array(['clip'] * len(label))},
        'nan': {'frames': nan},
        'infinite': {'frames': infinite},
        'no_frames': {'offsets': no_frames},
        'no_clips': {'offsets': offsets[:1]},
        'offsets_short': {'offsets': offsets[:-1]},
        'frames_text': {'frames': frames.astype(str)},
        'pixels': {'frames': pixels},
        'all_nan': {'frames': np.full_like(frames, np.nan)},
        'train_nan': {'frames': np.where(is_train[:, None, None], np.nan, frames)},
        'frames_points': {'frames': frames[:, :20]},
        'split_other': {'split': np.where(good['split'] == 'test', 'extra', good['split'])},
    }


_SPOILED_DESCRIPTIONS = {
    'layout_other': {'layout': np.array('mediapipe_foot')},
    'layout_list': {'layout': np.array(['mediapipe_hand', 'vision_api'])},
    'handedness_other': {'handedness': np.array('mirrored')},
    'source_text': {'source': np.array('from a friend')},
    'glosses_twice': {'label_names': np.array(['yes', 'no', 'yes'])},
    'gloss_empty': {'label_names': np.array(['yes', '', 'no'])},
    'glosses_scalar': {'label_names': np.array('yes')},
    'informative_outside': {'informative_points': np.array([0, 21])},
    'informative_text': {'informative_points': np.array(['wrist'])},
    'pickled': {'label_names': np.array(['yes', 'no', None], object)},
    'hostile': {'label_names': np.array(['yes', 'no', Hostile()], object)},
}


# --- SPOTER-format files


def make_csvs(directory):
    directory.mkdir()

    def write(name, rows, header=(*HAND.columns, 'labels')):
        with open(directory / f'{name}.csv', 'w', newline='', encoding='utf-8') as file:
            csv.writer(file).writerows([header, *rows])

    cells = ['[0.25, 0.5]'] * len(HAND.columns)
    good = [[*cells, 0], [*cells, 1]]
    write('good', good)
    _spoil(directory / 'good.csv')
    write('header_only', [])
    write('column', good, ['x_0', *HAND.columns[1:], 'labels'])
    write('column_twice', good, ['x0', 'x0', *HAND.columns[2:], 'labels'])
    write('no_labels', good, [*HAND.columns, 'sign'])
    write('cell_too_many', [good[0], [*cells, 1, 1]])
    write('labels_from_5', [[*cells, 5], [*cells, 6]])
    write('all_missing', [[*['[-2, -2]'] * len(cells), label] for label in (0, 1)])
    for name, label in _SPOILED_LABELS.items():
        write(name, [good[0], [*cells, label]])
    for name, cell in _SPOILED_CELLS.items():
        write(name, [good[0], [*cells[:4], cell, *cells[5:], 1]])
    for name, cell in _SPOILED_ROWS.items():
        write(name, [good[0], [*[cell] * len(cells), 1]])


_SPOILED_LABELS = {
    'label_text': 'hello',
    'label_nan': 'nan',
    'label_half': '0.5',
    'label_changes': '[0, 1]',
    'label_huge': '1e30',
    'label_high': 7,
}
_SPOILED_CELLS = {
    'lengths': '[0.25, 0.5, 0.75]',
    'no_list': '0.25',
    'no_number': '[0.25, left]',
    'nested': '[[0.25, 0.5]]',
    'infinite': '[0.25, inf]',
}
_SPOILED_ROWS = {
    'no_frames': '[]',
    'missing': '[-2, -2]',
    'nan': '[nan, nan]',
    'blanks': '[0.25 0.5]',
    'pixels': '[480, 640]',
}


# --- TFDS datasets


def make_datasets(directory):
    directory.mkdir()

    def write(content, name):
        shutil.move(tfds_writer.write_dataset(content, str(directory / 'written')), directory / name)

    write(_make_tiny(), 'tiny')
    write(_make_tiny('four_classes', num_classes=4), 'four_classes')
    write(_make_tiny('two_hands', landmarks.LAYOUTS['mediapipe_two_hands']), 'two_hands')
    write(_make_tiny('only_train', counts=(4, 0, 0)), 'only_train')
    flat = _make_tiny('flat')
    for clips in flat.splits.values():
        for clip in clips.landmarks:
            clip[..., 2] = np.nan
    write(flat, 'flat')
    shutil.rmtree(directory / 'written')
    _spoil_datasets(directory)
    for version in ('1.0.0', '2.0.0'):
        shutil.copytree(directory / 'tiny', directory / 'versions' / version)


def _spoil_datasets(directory):
    def spoil(name, file, change):
        shutil.copytree(directory / 'tiny', directory / name)
        path = directory / name / file
        path.write_bytes(change(path.read_bytes()))

    def cut(good):
        return good[: len(good) // 2]

    record = 'tiny-train.array_record-00000-of-00001'
    spoil('record_empty', record, lambda good: b'')
    spoil('record_noise', record, lambda good: NOISE)
    spoil('record_cut', record, cut)
    spoil('record_flipped', record, lambda good: good[:5000] + NOISE[:100] + good[5100:])
    spoil('info_noise', 'dataset_info.json', lambda good: NOISE)
    spoil('info_cut', 'dataset_info.json', cut)
    spoil('info_empty', 'dataset_info.json', lambda good: b'')
    spoil('features_cut', 'features.json', cut)
    spoil('metadata_cut', 'metadata.json', cut)
    spoil('metadata_empty', 'metadata.json', lambda good: b'{"format": "slr_jax landmarks 2"}')
    spoil('other_format', 'metadata.json', lambda good: good.replace(b'landmarks 2', b'landmarks 9'))
    spoil('other_layout', 'metadata.json', lambda good: good.replace(b'"mediapipe_hand"', b'"mediapipe_two_hands"'))
    spoil('label_names_short', 'label.labels.txt', lambda good: good[: good.index(b'\n') + 1])
    shutil.copytree(directory / 'tiny', directory / 'record_gone')
    (directory / 'record_gone' / record).unlink()


# --- What training, interpreting and importing read


def make_masks(directory):
    directory.mkdir()

    def write(name, *rows):
        (directory / f'{name}.csv').write_text(''.join(';'.join(map(str, row)) + '\n' for row in rows))

    weights = [0.5] * HAND.num_points
    write('good', HAND.point_columns, weights)
    _spoil(directory / 'good.csv')
    write('columns', ['nose', *HAND.point_columns[1:]], weights)
    write('number', HAND.point_columns, ['heavy', *weights[1:]])
    write('nan', HAND.point_columns, ['nan', *weights[1:]])
    write('short', HAND.point_columns, weights[1:])
    write('rows', HAND.point_columns, weights, weights)
    write('long_field', ['x' * 200_000], weights)


def make_torch_files(directory):
    directory.mkdir()

    def write(name, content, file='archive/data.pkl'):
        with zipfile.ZipFile(directory / f'{name}.pth', 'w') as out:
            out.writestr(file, content)

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(directory / 'hacked'),)

    write('zip', b'', 'archive/notes.txt')
    write('hostile', pickle.dumps(Hostile(), protocol=2))
    write('list', pickle.dumps([1, 2], protocol=2))
    write('no_model', pickle.dumps({'epoch': 3, 'weight': 0.5}, protocol=2))
    write('pickle_cut', pickle.dumps({'epoch': 3}, protocol=2)[:-4])
    _spoil(directory / 'list.pth')
    (directory / 'legacy.pth').write_bytes(pickle.dumps({'epoch': 3}, protocol=2))


def make_golden(directory, golden):
    """A published checkpoint, good and damaged."""
    content = golden.read_bytes()
    middle = len(content) // 2
    directory.mkdir()
    (directory / 'good.pth').symlink_to(golden)
    (directory / 'cut.pth').write_bytes(content[:middle])
    (directory / 'flipped.pth').write_bytes(content[:middle] + NOISE + content[middle + len(NOISE) :])


def make_config_files(directory):
    directory.mkdir()
    (directory / 'noise.py').write_bytes(NOISE)
    (directory / 'empty.py').write_text('')
    (directory / 'syntax.py').write_text('def get_config(:\n    pass\n')
    (directory / 'dict.py').write_text('def get_config():\n    return {"seed": 1}\n')
    for name, field in ('bare', 'seed'), ('typo', 'lerning_rate'):
        content = (
            f'import ml_collections\n\ndef get_config():\n    return ml_collections.ConfigDict({{"{field}": 1}})\n'
        )
        (directory / f'{name}.py').write_text(content)
    (directory / 'raises.py').write_text('def get_config():\n    raise RuntimeError("no such luck")\n')


# --- Workdirs


def make_workdirs(root):
    config = make_config(root / 'data' / 'tiny')
    content = dataset.load_dataset(config.dataset)
    _make_run(str(root / 'run'), config, content)
    longer = make_config(config.dataset, num_epochs=4)
    workdir_lib.create_or_check(str(root / 'longer'), longer, content.summary())
    for name, imported in (
        ('imported', make_config('')),
        ('no_mask', make_config(config.dataset, model='spoter_no_pe')),
    ):
        make_model(root / name, imported, content.description)
    (root / 'several').mkdir()
    workdir_lib.write_index(str(root / 'several'), [workdir_lib.RunEntry(f'seed_{i}', {}, i) for i in (0, 1)])
    _spoil_workdirs(root)


def make_model(workdir, config, description):
    """The workdir of a model that was not trained, as of an imported checkpoint."""
    workdir.mkdir()
    params = _random_numbers(models.param_shapes(models.model_from_config(config, description.num_classes), WIDTH))
    checkpoint.Checkpoints(str(workdir), read_only=False).save(0, {'params': params}, {'epoch': 0})
    workdir_lib.write_description(str(workdir), config, {'description': description.to_json()})


def _random_numbers(shapes):
    """Arrays of these shapes; of zeros a checkpoint would write nothing that can be spoiled."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.asarray(rng.random(leaf.shape)).astype(leaf.dtype), shapes)


def _make_run(workdir, config, content):
    """The files of a run after one epoch, without the time that it takes."""
    workdir_lib.create_or_check(workdir, config, content.summary())
    model = models.model_from_config(config, content.description.num_classes)
    hyperparameters = train_step.all_hyperparameters(config, {})
    optimizer = train_step.make_optimizer(config, hyperparameters, train_step.Steps(1, 1))
    key = jax.random.key(0)
    state = _random_numbers(jax.eval_shape(lambda: train_step.create_train_state(model, optimizer, WIDTH, key)))
    row = {'epoch': 1, 'step': 1}
    row |= {f'{part}_{name}': 0.5 for part in ('train', 'validation') for name in ('loss', 'accuracy')}
    items = {'params': state.params, 'training': {'step': state.step + 1, 'opt_state': state.opt_state}}
    checkpoint.Checkpoints(workdir, read_only=False).save(1, items, row)
    files.write_csv(os.path.join(workdir, 'metrics.csv'), [row | {'learning_rate': 0.001, 'clips_per_second': 9.0}])


def _spoil_workdirs(root):
    def spoil(name, pattern, change):
        shutil.copytree(root / 'run', root / name)
        for path in (root / name).glob(pattern):
            change(path)

    def cut(path):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    spoil('config_cut', 'config.json', cut)
    spoil('config_list', 'config.json', lambda path: path.write_text('[1, 2]'))
    spoil('config_fields', 'config.json', lambda path: path.write_text('{"dataset": "data"}'))
    spoil('dataset_cut', 'dataset.json', cut)
    spoil('dataset_gone', 'dataset.json', os.remove)
    spoil('dataset_fields', 'dataset.json', lambda path: path.write_text('{"description": {"name": "tiny"}}'))
    spoil('metrics_empty', 'metrics.csv', lambda path: path.write_text(''))
    spoil('metrics_gone', 'metrics.csv', os.remove)
    spoil('metrics_columns', 'metrics.csv', lambda path: path.write_text('epoch,step\n1,1\n'))
    spoil('checkpoint_noise', 'checkpoints/*/params/ocdbt.process_0/d/*', lambda path: path.write_bytes(NOISE))
    spoil('checkpoint_empty', 'checkpoints/*/params/**/manifest.ocdbt', lambda path: path.write_bytes(b''))
    spoil('checkpoint_cut', 'checkpoints/*/params/_METADATA', cut)
    spoil('checkpoint_gone', 'checkpoints/*/params', shutil.rmtree)
    spoil('scores_cut', 'checkpoints/*/metrics/metrics', cut)
    spoil('no_checkpoints', 'checkpoints', shutil.rmtree)


# --- Annotations


def make_wlasl(directory):
    directory.mkdir()
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
    directory.mkdir()

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


def make_videos(directory):
    for gloss in ('hello', 'thanks'):
        (directory / gloss).mkdir(parents=True)
        (directory / gloss / 'anna_1.mp4').touch()


# --- Clips tables and the landmarks of their clips

CLIPS = (
    clips_lib.Clip('a', 'a.mp4', 0, 'hello', 'train'),
    clips_lib.Clip('b', 'b.mp4', 1, 'thanks', 'test'),
)


def make_clips(directory):
    directory.mkdir()
    clips_lib.write_clips(str(directory / 'good.csv'), list(CLIPS))
    good = (directory / 'good.csv').read_text()
    spoiled = {
        'empty': '',
        'header': good.splitlines()[0],
        'column': good.replace('video_id', 'name', 1),
        'twice': good.replace('b,b.mp4', 'a,b.mp4'),
        'label': good.replace('b.mp4,1', 'b.mp4,x'),
        'gap': good.replace('b.mp4,1', 'b.mp4,2'),
        'split': good.replace('test', 'extra'),
        'outside': good.replace('b.mp4', '../b.mp4'),
        'surplus': good.replace('hello', 'hello, you'),
        'others': good.replace('a,a.mp4', 'x,x.mp4').replace('b,b.mp4', 'y,y.mp4'),
        'segment': good.replace('1,-1', '2,3'),
    }
    for name, text in spoiled.items():
        (directory / f'{name}.csv').write_text(text)
    (directory / 'noise.csv').write_bytes(NOISE)


def make_extracted(directory):
    description = {'parts': ['hands'], 'layout': 'mediapipe_hands_pose', 'handedness': 'signer'}
    points = np.random.default_rng(0).random((4, 75, 3), np.float32)
    factors = {'unseen': np.float32(np.nan), 'infinite': np.float32(np.inf)}
    directory.mkdir()
    for name in ('good', 'damaged', 'unseen', 'infinite', 'other_format', 'mixed'):
        with store_lib.open_store(str(directory / name), description) as extracted:
            for clip in CLIPS:
                extracted.save(clip, points * factors.get(name, np.float32(1)))
    damaged = directory / 'damaged' / 'b.npz'
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (directory / 'other_format' / 'extraction.json').write_text('{"format": "frames"}')
    (directory / 'mixed' / 'a_poses_landmarks.csv').write_text('RHx0\n')
    (directory / 'published').mkdir()
    (directory / 'published' / 'a_poses_landmarks.csv').write_text('RHx0,frame\n0.5,1\n')


def make_compact(directory):
    directory.mkdir()
    header = ','.join(['video', 'frame', *(f'{axis}{i}' for i in range(21) for axis in 'xy')])
    rows = [','.join([video, str(frame), *['0.5'] * 42]) for video in 'ab' for frame in (1, 2)]
    contents = {
        'good': [header, *rows],
        'header': [header],
        'column': [header.replace('x7', 'X7'), *rows],
        'text': [header, *rows[:-1], rows[-1].replace('0.5', 'left', 1)],
        'frame': [header, *rows[:-1], rows[-1].replace('b,2', 'b,0')],
        'twice': [header, *rows, rows[-1]],
    }
    for name, lines in contents.items():
        (directory / f'{name}.csv').write_text('\n'.join(lines))
