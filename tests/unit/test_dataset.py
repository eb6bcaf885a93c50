import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from preprocessing.formats import npz, spoter_csv, tfds_writer
from slr_jax import dataset as dataset_lib
from slr_jax import errors


def assert_same(one, other):
    assert one.description == other.description
    assert one.splits.keys() == other.splits.keys()
    for split, clips in one.splits.items():
        same = other.splits[split]
        for a, b in zip(clips.landmarks, same.landmarks, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(clips.labels, same.labels)
        np.testing.assert_array_equal(clips.index, same.index)
        assert list(clips.video_ids) == list(same.video_ids)
        assert list(clips.signers) == list(same.signers)


def test_any_tfds_reader_opens_it(tiny_dataset, tiny_dir):
    builder = tfds.builder_from_directory(tiny_dir)
    clips = tiny_dataset.splits['validation']
    examples = list(builder.as_data_source('validation'))
    assert len(examples) == len(clips)
    np.testing.assert_array_equal(examples[3]['landmarks'], clips.landmarks[3])
    assert examples[3]['landmarks'].dtype == np.float32
    assert np.isnan(examples[0]['landmarks']).any() or np.isnan(examples[1]['landmarks']).any()
    assert examples[3]['video_id'] == b'validation_00003'
    assert builder.info.features['label'].names == ['sign_0', 'sign_1', 'sign_2']
    metadata = builder.info.metadata
    assert metadata['layout'] == 'mediapipe_hand'
    assert metadata['point_names'][4] == 'thumb_tip'
    assert metadata['missing'] == 'NaN'
    assert metadata['informative_points'] == list(tiny_dataset.description.informative_points)


def test_a_dataset_of_format_1_is_read(tiny_dataset, tiny_dir, tmp_path):
    shutil.copytree(tiny_dir, tmp_path / 'old')
    path = tmp_path / 'old' / 'metadata.json'
    metadata = json.loads(path.read_text())
    metadata |= {'format': 'slr_jax landmarks 1', 'hand_names': 'published', 'known_points': [3]}
    del metadata['handedness'], metadata['informative_points']
    path.write_text(json.dumps(metadata))
    description = dataset_lib.load_dataset(str(tmp_path / 'old')).description
    assert (description.handedness, description.informative_points) == ('swapped', (3,))
    assert description.label_names == tiny_dataset.description.label_names


def test_from_clips_keeps_the_order_of_the_source():
    description = dataset_lib.Description('some', 'mediapipe_hand', ('yes', 'no'))
    clips = [np.full((i + 1, 21, 3), i, np.float32) for i in range(3)]
    made = dataset_lib.Dataset.from_clips(description, clips, [1, 0, 1], ['test', 'train', 'test'])
    assert list(made.splits) == ['train', 'test']
    assert made.splits['test'].video_ids == ['test_00000', 'test_00001']
    assert [len(clip) for clip in made.splits['test'].landmarks] == [1, 3]
    assert made.splits['test'].index.tolist() == [0, 2]
    assert made.splits['train'].labels.tolist() == [0]


def test_some_glosses_are_kept(tiny_dataset):
    kept = dataset_lib.keep_glosses(tiny_dataset, ['sign_2', ' sign_0'], 'tiny')
    assert kept.description.label_names == ('sign_0', 'sign_2')
    for split, clips in tiny_dataset.splits.items():
        chosen = np.flatnonzero(clips.labels != 1)
        assert kept.splits[split].labels.tolist() == (clips.labels[chosen] // 2).tolist()
        assert kept.splits[split].labels.dtype == np.int32
        assert kept.splits[split].video_ids == [clips.video_ids[index] for index in chosen]
    assert dataset_lib.keep_glosses(tiny_dataset, None, 'tiny') is tiny_dataset
    for glosses in (['sign_0', 'eat', 'drink'], []):
        with pytest.raises(
            errors.InputError, match=r'^--glosses: (drink, eat|no gloss) .* tiny, .* 3 glosses: sign_0, '
        ):
            dataset_lib.keep_glosses(tiny_dataset, glosses, 'tiny')


def test_there_and_back(tiny_dataset, tiny_dir, tmp_path):
    read = dataset_lib.load_dataset(tiny_dir)
    assert_same(read, tiny_dataset)
    assert read.fingerprint() == tiny_dataset.fingerprint()
    npz.write_archive(read, str(tmp_path / 'a.npz'))
    assert_same(npz.read_archive(str(tmp_path / 'a.npz'), 'tiny'), tiny_dataset)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['wlasl100_hands', 'ksl13_hands_pose'])
def test_real_archives_there_and_back(shared, name, tmp_path):
    path = shared / 'data' / f'{name}.npz'
    directory = tfds_writer.write_dataset(npz.read_archive(str(path), name), str(tmp_path))
    npz.write_archive(dataset_lib.load_dataset(directory), str(tmp_path / 'back.npz'))
    with np.load(path) as given, np.load(tmp_path / 'back.npz') as back:
        for field in given:
            np.testing.assert_array_equal(given[field], back[field])
            assert given[field].dtype == back[field].dtype


def test_fingerprint_sees_every_change(tiny_dataset):
    clips = tiny_dataset.splits['test']
    changed = [clip.copy() for clip in clips.landmarks]
    changed[-1][-1, -1, -1] += 1
    labels = clips.labels.copy()
    labels[0] += 1
    for other in (dataclasses.replace(clips, landmarks=changed), dataclasses.replace(clips, labels=labels)):
        dataset = dataclasses.replace(tiny_dataset, splits={**tiny_dataset.splits, 'test': other})
        assert dataset.fingerprint() != tiny_dataset.fingerprint()


def test_stratified_split():
    labels = np.repeat([0, 1, 2, 3], [10, 7, 7, 1])
    kept, held_out = dataset_lib.stratified_split(labels, 0.2, seed=5)
    assert sorted([*kept, *held_out]) == list(range(25))
    counts = np.bincount(labels[held_out], minlength=4)
    assert counts.sum() == 5
    assert counts[0] == 2
    assert set(counts[1:3]) <= {1, 2}
    np.testing.assert_array_equal(held_out, dataset_lib.stratified_split(labels, 0.2, seed=5)[1])
    assert held_out.tolist() != dataset_lib.stratified_split(labels, 0.2, seed=6)[1].tolist()
    kept, everything = dataset_lib.stratified_split(labels, 1.0, seed=5)
    assert len(kept) == 0
    assert everything.tolist() == list(range(25))


@pytest.mark.parametrize(
    ('change', 'facts'),
    [
        (lambda clip: clip[:0], 'frames'),
        (lambda clip: np.full_like(clip, np.nan), 'NaN'),
        (lambda clip: np.full_like(clip, np.inf), 'infinite'),
        (lambda clip: clip[:, :20], r'\(\d+, 20, 3\).*\(frames, 21, 3\)'),
    ],
)
def test_illegal_clips_are_refused(tiny_dataset, tmp_path, change, facts):
    clips = tiny_dataset.splits['test']
    bad = dataclasses.replace(clips, landmarks=[*clips.landmarks[:-1], change(clips.landmarks[-1])])
    with pytest.raises(errors.InputError, match=f'tiny.*test.*test_00005.*{facts}'):
        tfds_writer.write_dataset(dataclasses.replace(tiny_dataset, splits={'test': bad}), str(tmp_path / 'new'))
    assert not (tmp_path / 'new').exists()


def test_illegal_names_are_refused(tiny_dataset, tmp_path):
    def write(**fields):
        description = dataclasses.replace(tiny_dataset.description, **fields)
        tfds_writer.write_dataset(dataclasses.replace(tiny_dataset, description=description), str(tmp_path / 'new'))

    with pytest.raises(errors.InputError, match=r"name.*'Big-Name'.*lower-case"):
        write(name='Big-Name')
    with pytest.raises(errors.InputError, match=r"\b0\b.*\b2\b.*'a'"):
        write(label_names=('a', 'b', 'a'))
    with pytest.raises(errors.InputError, match=r"class 1.*''"):
        write(label_names=('a', '', 'c'))
    with pytest.raises(errors.InputError, match=r'label 2\b.*\b0\b.*\b1\b'):
        write(label_names=('a', 'b'))
    assert not (tmp_path / 'new').exists()


def test_csv_there_and_back(tiny_dataset, tmp_path):
    spoter_csv.write_dataset(tiny_dataset, str(tmp_path / 'csv'))
    paths = {split: str(tmp_path / 'csv' / f'{split}.csv') for split in tiny_dataset.splits}
    back = spoter_csv.read_dataset(paths, 'tiny', tiny_dataset.layout)
    for split, clips in tiny_dataset.splits.items():
        np.testing.assert_array_equal(back.splits[split].labels, clips.labels)
        for a, b in zip(clips.landmarks, back.splits[split].landmarks, strict=True):
            np.testing.assert_array_equal(a[..., :2], b[..., :2])
            assert np.isnan(b[..., 2]).all()


@pytest.mark.parametrize(
    ('layout', 'expected'),
    [('mediapipe_hands_pose', {'handedness': ('swapped', 'signer')}), ('mediapipe_hand', {})],
)
def test_handedness_matters_where_there_are_two_hands(layout, expected):
    signer, swapped = (dataset_lib.Description('d', layout, ('a',), handedness) for handedness in ('signer', 'swapped'))
    assert dataset_lib.input_differences(swapped, signer) == expected
    other = dataclasses.replace(signer, layout='vision_api')
    assert dataset_lib.input_differences(other, signer) == {'layout': ('vision_api', layout)}


@pytest.mark.parametrize(
    ('train', 'test', 'expected'),
    [('ab', 'ab', 1.0), ('ab', 'cd', 0.0), ('ab', 'ac', 0.5), ('', 'ab', None), ('ab', '', None), ('a', 'ax', 0.5)],
)
def test_signers_in_train(train, test, expected):
    train, test = [*train, ''], [*test, '']
    assert dataset_lib.signers_in_train(train, test) == expected
    described = dataset_lib.describe_shared_signers({'train': train, 'test': test})
    assert bool(described) == bool(expected)
    assert not expected or f'{expected:.0%} of the test clips are in train, too' in described


def test_no_class_lacks_a_split_for_rounding_alone():
    labels = np.arange(40).repeat(7)
    rest, test = dataset_lib.stratified_split(labels, 0.15, seed=3)
    left = np.bincount(labels[rest])
    assert set(left) == {5, 6}
    _, validation = dataset_lib.stratified_split(labels[rest], 0.15 * 7 / left, seed=4)
    assert len(test) == len(validation) == 42
    assert min(np.bincount(labels[rest][validation])) == 1


@pytest.mark.parametrize(
    'other',
    [
        ' caf\u00e9',
        'caf\u00e9\n',
        'cafe\u0301',
        '\u200bcaf\u00e9',
        '\ufeffcaf\u00e9',
        'caf\u00e9\u200d',
        'caf\u00e9\u00a0',
        'ca\u00adf\u00e9\u3000',
    ],
)
def test_glosses_that_look_alike_are_one(other):
    def describe(*names):
        return dataset_lib.Description('signs', 'mediapipe_hand', names)

    known = describe('caf\u00e9 noir', 'caf\u00e9').label_names
    assert known == describe(f'{other}  noir', other).label_names == ('caf\u00e9 noir', 'caf\u00e9')
    assert dataset_lib.match_glosses(describe(other).label_names, known) == [1]
    assert dataset_lib.find_glosses(dict(enumerate(known)), [other], 'it') == [1]
    with pytest.raises(errors.InputError, match=r'signs: the names of classes 0 and 2, .*differ only in'):
        describe(other, 'tea', 'caf\u00e9')


def test_glosses_of_a_model_of_an_older_version_are_tidy():
    upgraded = dataset_lib.upgrade_fields({'hand_names': 'anatomical', 'label_names': ['cafe\u0301 ', 'tea']})
    assert upgraded == {'handedness': 'signer', 'label_names': ['caf\u00e9', 'tea']}


def test_joiners_within_a_word_stay():
    assert dataset_lib.tidy_gloss('\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645') == (
        '\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645'
    )
