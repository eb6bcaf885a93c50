"""Small valid files of every kind that the project reads, and a hostile pickle in those that may hold one."""

import csv
import dataclasses
import functools
import itertools
import json
import os
import pickle
from typing import Any
import zipfile

import numpy as np

from experiments.fuzzing import torch_files
from experiments.fuzzing.trial import CANARY, NAME
from preprocessing import clips as clips_lib
from preprocessing.extraction import store as store_lib
from preprocessing.formats import npz, spoter_csv, tfds_writer
from slr_jax import dataset as dataset_lib
from slr_jax import files
from slr_jax import landmarks as landmarks_lib

# Of state dicts, which do not say it.
NUM_HEADS = 2
# The content of init.json.
INIT = {'init_from': 'other', 'step': 1, 'taken': ['class_query'], 'new': []}
HAND = landmarks_lib.LAYOUTS['mediapipe_hand']
HANDS_POSE = landmarks_lib.LAYOUTS['mediapipe_hands_pose']
CLIPS = (
    clips_lib.Clip('a', 'a.mp4', 0, 'hello', 'train', 'anna', fps=25.0, bbox='1 2 30 40'),
    clips_lib.Clip('b', 'b.mp4', 1, 'thanks', 'test', 'bo', 2, 4),
)


class _Hostile:
    """What a pickle must never be allowed to do."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, CANARY)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _dataset(layout: landmarks_lib.Layout = HAND) -> dataset_lib.Dataset:
    """Two clips of each of three glosses in every split."""
    clips = list(itertools.product(dataset_lib.SPLITS, range(3), range(2)))
    landmarks = [_rng().random((5 + i % 3, layout.num_points, 3), np.float32) for i in range(len(clips))]
    for clip in landmarks:
        clip[1] = np.nan
    source = {'kind': 'synthetic', 'seed': 1}
    description = dataset_lib.Description(NAME, layout.name, ['yes', 'no', 'maybe'], 'signer', [0, 2], source)
    return dataset_lib.Dataset.from_clips(
        description, landmarks, [label for _, label, _ in clips], [split for split, _, _ in clips]
    )


def _write(folder: str, name: str, content: bytes | str) -> None:
    path = os.path.join(folder, name)
    files.make_directories(os.path.dirname(path))
    with open(path, 'wb') as file:
        file.write(content.encode() if isinstance(content, str) else content)


# --- Models


def _state() -> Any:
    import jax

    from slr_jax import models

    model = models.create_model('class_query', num_classes=3, num_heads=NUM_HEADS, num_layers=1, mlp_dim=8)
    params = jax.tree.map(lambda x: _rng().standard_normal(x.shape, np.float32), models.param_shapes(model, 6))
    return torch_files.state_dict('class_query', params)


def write_torch(folder: str) -> None:
    """Checkpoints of PyTorch, new and legacy, and hostile ones."""
    state = _state()
    module = torch_files.module('any.Thing', state, num_heads=NUM_HEADS)
    torch_files.save(f'{folder}/module.pth', module)
    torch_files.save(f'{folder}/state_dict.pth', {'epoch': 1, 'state_dict': state})
    torch_files.save_legacy(f'{folder}/legacy_module.pth', module)
    torch_files.save_legacy(f'{folder}/legacy_state_dict.pth', state)
    hostile = {'state_dict': _Hostile(folder)}
    torch_files.save_pickle(f'{folder}/hostile.pth', pickle.dumps(hostile, protocol=2))
    torch_files.save_legacy(f'{folder}/hostile_legacy.pth', hostile)


def write_safetensors(folder: str) -> None:
    """A state dict, and the parameters of an export."""
    import safetensors.numpy

    from slr_jax import params_file

    tensors = {name: np.ascontiguousarray(x) for name, x in _state().items()}
    safetensors.numpy.save_file(tensors, f'{folder}/state.safetensors')
    write_workdir(folder)
    _write(folder, 'params.safetensors', params_file.to_bytes(_load_run(folder)))


@functools.cache
def run_config() -> Any:
    """The config of the runs that are written."""
    from slr_jax import config as config_lib

    config = config_lib.default_config()
    config.update({'dataset': NAME, 'num_heads': 7, 'num_layers': 1, 'mlp_dim': 4, 'num_epochs': 1})
    return config


@functools.cache
def run_data() -> dict[str, Any]:
    """The content of dataset.json of these runs."""
    return _dataset().summary()


def write_workdir(folder: str) -> None:
    """A run after an epoch with what evaluation writes, and a workdir of two such runs."""
    import jax

    from slr_jax import checkpoint, models, run_log
    from slr_jax import features as features_lib
    from slr_jax import workdir as workdir_lib

    config, description = run_config(), _dataset().description
    model = models.model_from_config(config, description.num_classes)
    shapes = models.param_shapes(model, features_lib.Features.from_config(config, description.layout).dim)
    params = jax.tree.map(lambda x: _rng().standard_normal(x.shape).astype(x.dtype), shapes)
    metrics = run_log.EpochMetrics(
        epoch=1,
        step=6,
        train_loss=1.0,
        train_accuracy=0.5,
        validation_loss=1.0,
        validation_accuracy=0.5,
        learning_rate=0.001,
        clips_per_second=9.0,
    )
    row = dataclasses.asdict(metrics)
    tested = {
        'checkpoint': 6,
        'split': 'test',
        'clips': 3,
        'accuracy': 0.5,
        'accuracy_wilson95': [0.1, 0.9],
        'top5': 1.0,
        'selected_by': 'the latest',
    }
    for name in ('run', 'several/seed_0', 'several/seed_1'):
        path = os.path.join(folder, name)
        os.makedirs(path)
        workdir_lib.write_description(path, config, run_data())
        files.write_json(os.path.join(path, 'init.json'), INIT)
        checkpoint.Checkpoints(path, read_only=False).save(6, {'params': params}, row)
        files.write_csv(os.path.join(path, 'metrics.csv'), [row])
        _write(path, 'evaluation/test/metrics.json', json.dumps(tested))
    entries = [workdir_lib.RunEntry(f'seed_{seed}', {'learning_rate': 0.001}, seed) for seed in (0, 1)]
    workdir_lib.write_index(os.path.join(folder, 'several'), entries)


def _load_run(folder: str) -> Any:
    from slr_jax import checkpoint

    return checkpoint.load_model(os.path.join(folder, 'run'))


def write_export(folder: str) -> None:
    """An exported model."""
    from slr_jax import exporting

    write_workdir(folder)
    files.remove_tree_retrying(os.path.join(folder, 'run', 'evaluation'))
    exporting.export(os.path.join(folder, 'run'), os.path.join(folder, 'export'))


# --- Datasets and landmarks


def write_tfds(folder: str) -> None:
    """A TFDS directory, moved to NAME."""
    os.rename(tfds_writer.write_dataset(_dataset(), os.path.join(folder, 'data')), os.path.join(folder, NAME))


def write_npz(folder: str) -> None:
    """Landmark archives: packed, not packed, with an array of objects, and a hostile one."""
    npz.write_archive(_dataset(), f'{folder}/packed.npz')
    with np.load(f'{folder}/packed.npz') as content:
        arrays = dict(content)
    names = {'plain': arrays['label_names'], 'objects': arrays['label_names'].astype(object)}
    names['hostile'] = np.array(['yes', 'no', _Hostile(folder)], object)
    for name, label_names in names.items():
        np.savez(f'{folder}/{name}.npz', **arrays | {'label_names': label_names})


def write_mp_data(folder: str) -> None:
    """Folders of arrays: of frames and of whole clips, and a hostile one."""
    rows = _rng().random((6, 126))
    for i, row in enumerate(rows[:3]):
        for gloss in ('yes', 'no'):
            files.make_directories(f'{folder}/frames/{gloss}/1')
            np.save(f'{folder}/frames/{gloss}/1/{i}.npy', row.astype(np.float32))
    for gloss in ('yes', 'no'):
        files.make_directories(f'{folder}/clips/{gloss}')
        np.save(f'{folder}/clips/{gloss}/1.npy', rows)
    files.make_directories(f'{folder}/hostile/yes')
    np.save(f'{folder}/hostile/yes/1.npy', np.array([_Hostile(folder)], object))


def write_landmarks(folder: str) -> None:
    """A directory of extract_landmarks, published CSV files, IPN Hand's compact file, and their clips table."""
    points = _rng().random((4, 75, 3), np.float32)
    description = {'parts': ['hands', 'pose'], 'layout': 'mediapipe_hands_pose', 'handedness': 'signer'}
    with store_lib.open_store(f'{folder}/extracted', description) as store:
        for clip in CLIPS:
            store.save(clip, points, 0)
    columns = [x.replace('x', axis) for x in HANDS_POSE.columns[::2] for axis in 'xyz']
    files.make_directories(f'{folder}/published')
    for video in 'ab':
        numbers = [dict(zip(columns, frame.ravel().tolist(), strict=True)) for frame in points]
        path = f'{folder}/published/{video}_poses_landmarks.csv'
        files.write_csv(path, [row | {'frame': i} for i, row in enumerate(numbers, start=1)], delimiter=';')
    compact = [
        {'video': video, 'frame': i} | dict(zip(HAND.columns, points[i - 1, :21, :2].ravel().tolist(), strict=True))
        for video in 'ab'
        for i in (1, 2, 3, 4)
    ]
    files.write_csv(f'{folder}/compact.csv', compact)
    clips_lib.write_clips(f'{folder}/clips.csv', CLIPS)


def write_spoter_csv(folder: str) -> None:
    """SPOTER-format files of one hand, and of the layout that SPOTER has, whose labels are text."""
    for layout in (HAND, landmarks_lib.LAYOUTS['vision_api']):
        spoter_csv.write_dataset(_dataset(layout), f'{folder}/{layout.name}')
        os.rename(f'{folder}/{layout.name}/train.csv', f'{folder}/{layout.name}.csv')


def write_pose(folder: str) -> None:
    """Folders of .pose files: of one hand, of MediaPipe Holistic, and of OpenPose's points."""
    from preprocessing.formats import pose

    for layout in (HAND, HANDS_POSE):
        pose.write_dataset(_dataset(layout), f'{folder}/{layout.name}')


def write_openpose(folder: str) -> None:
    """OpenPose's JSON files."""
    for gloss in ('yes', 'no'):
        for i in range(3):
            person = {
                f'{part}_keypoints_2d': (_rng().random(3 * count) * 300).round(1).tolist()
                for part, count in (('pose', 25), ('hand_left', 21), ('hand_right', 21))
            }
            content = {'version': 1.3, 'people': [person, person]}
            _write(folder, f'clips/{gloss}/1/{i}_keypoints.json', json.dumps(content))


def write_asl_signs(folder: str) -> None:
    """The parquet files of asl-signs, and their table."""
    import pandas as pd

    rows = [
        {'frame': frame, 'type': kind, 'landmark_index': i, 'x': 0.5, 'y': 0.01 * i, 'z': 0.1}
        for frame in (3, 4)
        for kind, count in (('right_hand', 21), ('left_hand', 21), ('pose', 33), ('face', 2))
        for i in range(count)
    ]
    table = pd.DataFrame(rows).astype({'frame': np.int16, 'landmark_index': np.int16})
    clips = []
    for i, sign in enumerate(('yes', 'no', 'yes', 'no')):
        files.make_directories(f'{folder}/signs/{i}')
        table.to_parquet(f'{folder}/signs/{i}/1.parquet', index=False)
        clips.append({'path': f'{i}/1.parquet', 'participant_id': i, 'sequence_id': 10 + i, 'sign': sign})
    files.write_csv(f'{folder}/signs/train.csv', clips)


# --- Tables and annotations


def write_tables(folder: str) -> None:
    """A clips table, glosses and published weights."""
    clips_lib.write_clips(f'{folder}/clips.csv', CLIPS)
    _write(folder, 'glosses.txt', 'hello\nthanks\n')
    with open(f'{folder}/mask.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, delimiter=';')
        writer.writerows([HAND.point_columns, [0.5] * HAND.num_points])


def write_annotations(folder: str) -> None:
    """Tables of videos, and IPN Hand's annotations."""
    for clip in CLIPS:
        _write(folder, f'videos/{clip.file}', b'')
    rows = [
        {'file': clip.file, 'gloss': clip.gloss, 'label': clip.label, 'split': clip.split, 'start': 1, 'end': 9}
        for clip in CLIPS
    ]
    files.write_csv(f'{folder}/signs.csv', rows)
    _write(folder, 'signs.json', json.dumps(rows))
    subsets = {'a': {'subset': 'train', 'action': [0, 1, 9]}, 'b': {'subset': 'test', 'action': [1, 1, 9]}}
    _write(folder, 'nslt.json', json.dumps(subsets))
    _write(folder, 'ipn/Annot_List.txt', 'video,label,t_start,t_end\nA_1_R_#1,B0A,1,9\nA_2_R_#1,B0B,5,8\n')
    _write(folder, 'ipn/metadata.csv', 'Video Name,Set\nA_1_R_#1,train\nA_2_R_#1,test\n')


def write_wlasl(folder: str) -> None:
    """WLASL's annotations."""
    instance = {
        'bbox': [1, 2, 3, 4], 'fps': 25, 'frame_end': 9, 'frame_start': 1, 'instance_id': 0, 'signer_id': 7,
        'source': 'asl', 'split': 'train', 'url': 'https://www.youtube.com/watch?v=abcdefghijk', 'variation_id': 0,
        'video_id': '00001',
    }  # fmt: skip
    other = instance | {'video_id': '00002', 'url': 'http://a.org/book.mp4', 'split': 'val', 'frame_end': -1}
    content = [{'gloss': 'book', 'instances': [instance]}, {'gloss': 'drink', 'instances': [other]}]
    _write(folder, 'wlasl.json', json.dumps(content))


# --- Pictures and MediaPipe


def _pictures() -> list[np.ndarray]:
    return [np.full((48, 64, 3), 20 * i, np.uint8) + _rng().integers(0, 9, (48, 64, 3), np.uint8) for i in range(8)]


def write_videos(folder: str) -> None:
    """Videos of several containers and codecs, and folders of frames."""
    import cv2

    for name, codec in (('xvid.avi', 'XVID'), ('mjpg.avi', 'MJPG'), ('mp4v.mp4', 'mp4v'), ('vp8.webm', 'VP80')):
        writer = cv2.VideoWriter(f'{folder}/{name}', cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
        for picture in _pictures():
            writer.write(picture)
        writer.release()
    for suffix in ('jpg', 'png', 'bmp'):
        files.make_directories(f'{folder}/{suffix}')
        for i, picture in enumerate(_pictures()[:2], start=1):
            cv2.imwrite(f'{folder}/{suffix}/frame_{i:06d}.{suffix}', picture)


def write_task(folder: str) -> None:
    """Bundles with the names of MediaPipe's networks, but noise in them; and a folder of frames."""
    import cv2

    from preprocessing.extraction import model_files

    files.make_directories(f'{folder}/frames/a')
    cv2.imwrite(f'{folder}/frames/a/a_000001.jpg', _pictures()[0])

    for part, members in model_files.BUNDLE_MEMBERS.items():
        with zipfile.ZipFile(f'{folder}/{model_files.model_name(part, "full")}', 'w') as bundle:
            for member in members:
                bundle.writestr(member, b'\x1c\x00\x00\x00TFL3' + _rng().bytes(2000))
