"""Models tested on datasets with other classes than their own."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from preprocessing.formats import tfds_writer
from slr_jax import checkpoint, dataset, errors, evaluation
from tests import in_process, workdirs
from tests.conftest import make_tiny_config
from tests.refusals import world

KNOWN = ('sign_0', 'sign_1', 'sign_2')


@pytest.fixture(scope='module')
def make_workdir(tiny_dataset, tmp_path_factory):
    """Makes the workdir of a model of glosses, which was not trained."""

    def make(glosses, dataset_path=''):
        workdir = tmp_path_factory.mktemp('model') / 'w'
        description = dataclasses.replace(tiny_dataset.description, label_names=glosses)
        world.make_model(workdir, make_tiny_config(dataset_path), description)
        return workdir

    return make


@pytest.fixture(scope='module')
def model(make_workdir, tiny_dir):
    """The workdir of a model of three signs."""
    return make_workdir(KNOWN, tiny_dir)


@pytest.fixture(scope='module')
def make_data(tiny_dataset, tmp_path_factory):
    """Writes the test clips of some classes of tiny_dataset, in an order and with glosses; returns its directory."""

    def make(classes, glosses):
        clips = tiny_dataset.splits['test']
        kept = clips.take(np.flatnonzero(np.isin(clips.labels, classes)))
        kept = dataclasses.replace(kept, labels=np.array([classes.index(label) for label in kept.labels], np.int32))
        description = dataclasses.replace(tiny_dataset.description, name='some', label_names=glosses)
        content = dataset.Dataset(description, {'test': kept})
        return tfds_writer.write_dataset(content, str(tmp_path_factory.mktemp('some')))

    return make


@pytest.fixture(scope='module')
def expected(model, tiny_dataset):
    """<float>[clips, 3], the answers to the test clips of tiny_dataset; and their labels."""
    clips = tiny_dataset.splits['test']
    return checkpoint.load_model(str(model)).logits(clips.landmarks), clips.labels


def test_pictures_of_other_shapes(tiny_dataset, tmp_path, capsys):
    def write(name, size, scale=(1, 1, 1)):
        splits = {
            split: dataclasses.replace(
                clips,
                landmarks=[clip * np.array(scale, np.float32) for clip in clips.landmarks],
                frame_sizes=np.full((len(clips), 2), size),
            )
            for split, clips in tiny_dataset.splits.items()
        }
        content = dataset.Dataset(dataclasses.replace(tiny_dataset.description, name=name), splits)
        return tfds_writer.write_dataset(content, str(tmp_path / 'data')), content.description

    def test(workdir, path):
        capsys.readouterr()
        evaluation.evaluate(workdir, dataset=path)
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith('warning: ')]

    fields = {'normalize': 'centered', 'missing_value': 0.0}
    known, description = write('known', (640, 480))
    upright, _ = write('upright', (720, 1280), (640 / 720, 480 / 1280, 640 / 720))
    unknown, no_sizes = write('unknown', (0, 0))
    square = workdirs.write_workdir(tmp_path / 'square', description, dataset=known, **fields)
    model = checkpoint.load_model(square)
    logits = [evaluation.Evaluator(square, dataset=path).logits(model) for path in (known, upright, unknown)]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)
    np.testing.assert_array_equal(logits[2], logits[0])
    assert test(square, known) == test(square, upright) == []
    [line] = test(square, unknown)
    assert (
        'dataset unknown: the shape of the pictures of 6 of 6 clips is unknown and taken to be that of 640x480' in line
    )
    old = workdirs.write_workdir(tmp_path / 'old', no_sizes, dataset=unknown, **fields)
    assert test(old, unknown) == []
    [line] = test(old, upright)
    assert 'pictures of 720x1280 (6), but the shape of those that the model was trained on is unknown' in line
    published = workdirs.write_workdir(tmp_path / 'published', description, dataset=known)
    assert test(published, known) == []
    [line] = test(published, upright)
    assert "720x1280 (6), but the model was trained on 640x480 (27); with normalize 'none'" in line


def test_some_signs_in_another_order(model, make_data, expected, tmp_path):
    logits, labels = expected
    data = make_data([2, 1], ['sign_2', 'sign_1'])
    metrics = evaluation.evaluate(str(model), dataset=data, output_dir=str(tmp_path))
    chosen = labels != 0
    assert metrics['accuracy'] == pytest.approx(np.mean(logits[chosen].argmax(axis=1) == labels[chosen]))
    counts = [metrics[name] for name in ('clips', 'glosses', 'chosen_among', 'model_glosses', 'left_out')]
    assert counts == [chosen.sum(), 2, 3, 3, {}]
    confusion = pd.read_csv(tmp_path / 'confusion.csv', index_col=0)
    assert confusion.columns.tolist() == confusion.index.tolist() == list(KNOWN)
    for label, name in enumerate(KNOWN):
        answers = logits[chosen & (labels == label)].argmax(axis=1)
        assert confusion.loc[name].tolist() == np.bincount(answers, minlength=3).tolist()
    predictions = pd.read_csv(tmp_path / 'predictions.csv')
    assert (predictions['gloss'] == [KNOWN[label] for label in predictions['label']]).all()
    assert (predictions['gloss_1'] == [KNOWN[label] for label in predictions['predicted_1']]).all()


def test_answers_among_the_signs_of_the_dataset(model, make_data, expected):
    logits, labels = expected
    metrics = evaluation.evaluate(str(model), dataset=make_data([2, 1], ['sign_2', 'sign_1']), restrict=True)
    chosen = labels != 0
    right = logits[chosen][:, 1:].argmax(axis=1) + 1 == labels[chosen]
    assert metrics['accuracy'] == pytest.approx(right.mean())
    odds = np.exp(logits[chosen])
    probabilities = odds[np.arange(len(odds)), labels[chosen]] / odds[:, 1:].sum(axis=1)
    assert metrics['loss'] == pytest.approx(-np.log(probabilities).mean(), rel=1e-4)
    output = model / 'evaluation' / 'some_test_best_restricted'
    assert json.loads((output / 'metrics.json').read_text()) == metrics
    table = pd.read_csv(output / 'per_class.csv')
    assert table[['label', 'gloss']].values.tolist() == [[1, 'sign_1'], [2, 'sign_2']]
    assert pd.read_csv(output / 'confusion.csv', index_col=0).columns.tolist() == ['sign_1', 'sign_2']
    assert 'of 2 glosses, chosen among 2 of the 3 of the model' in evaluation.describe(metrics)


def test_unknown_glosses_are_named_or_left_out(model, make_data, expected, capfd, monkeypatch):
    logits, labels = expected
    data = make_data([0, 1, 2], ['Sign 0', 'zebra', 'sign_2'])
    facts = r"test split.*'Sign 0' \(did you mean 'sign_0'\?\), 'zebra'.*--unknown_glosses=leave_out"
    with pytest.raises(errors.InputError, match=facts):
        evaluation.evaluate(str(model), dataset=data)
    words = ['slr_jax.evaluate', f'--workdir={model}', f'--dataset={data}', '--unknown_glosses=leave_out']
    assert in_process.run_here(words, capfd, monkeypatch) == (0, '')
    metrics = json.loads((model / 'evaluation' / 'some_test_best' / 'metrics.json').read_text())
    assert metrics['left_out'] == {'Sign 0': 2, 'zebra': 2}
    assert metrics['accuracy'] == pytest.approx(np.mean(logits[labels == 2].argmax(axis=1) == 2))


def test_a_dataset_without_any_known_gloss_is_refused(model, make_data):
    data = make_data([0, 1], ['cow', 'zebra'])
    for unknown_glosses in dataset.UNKNOWN_GLOSSES:
        with pytest.raises(errors.InputError, match=r"'cow', 'zebra', and no other"):
            evaluation.Evaluator(str(model), dataset=data, unknown_glosses=unknown_glosses)


def test_glosses_without_clips_need_not_be_known(model, make_data):
    data = make_data([0, 1, 2], [*KNOWN, 'zebra'])
    assert len(evaluation.Evaluator(str(model), dataset=data).clips) == 6


def test_a_model_without_glosses_is_tested_by_number(make_workdir, make_data, tiny_dataset):
    workdir, labels = str(make_workdir(('0', '1', '2'))), tiny_dataset.splits['test'].labels
    by_number = evaluation.Evaluator(workdir, dataset=make_data([0, 1, 2], ['a', 'b', 'c']))
    assert by_number.clips.labels.tolist() == labels.tolist()
    assert by_number.label_names == ['a', 'b', 'c']
    some = evaluation.Evaluator(workdir, dataset=make_data([2, 0], ['2', '0']))
    assert some.clips.labels.tolist() == labels[labels != 1].tolist()
    with pytest.raises(errors.InputError, match=r"'a', 'b'.*\b3 classes\b.*import_torch --label_names"):
        evaluation.Evaluator(workdir, dataset=make_data([0, 1], ['a', 'b']))


def test_signers_who_are_in_train_are_named(make_workdir, tiny_dataset, tmp_path, capfd):
    splits = {
        split: dataclasses.replace(
            clips, signers=['ann' if split == 'train' or i % 3 else 'ben' for i in range(len(clips))]
        )
        for split, clips in tiny_dataset.splits.items()
    }
    description = dataclasses.replace(tiny_dataset.description, name='signers', label_names=KNOWN)
    data = tfds_writer.write_dataset(dataset.Dataset(description, splits), str(tmp_path))
    metrics = evaluation.evaluate(str(make_workdir(KNOWN, data)))
    assert metrics['signers_in_train'] == pytest.approx(np.mean(np.arange(metrics['clips']) % 3 != 0))
    assert '% of the test clips are in train, too, and others may' in capfd.readouterr().out
    # Names of signers mean nothing in another dataset.
    metrics = evaluation.evaluate(str(make_workdir(KNOWN, '')), dataset=data)
    assert metrics['signers_in_train'] is None


def test_copies_of_training_clips_do_not_count(make_workdir, tiny_dataset, tmp_path, capsys):
    train, test = tiny_dataset.splits['train'], tiny_dataset.splits['test']
    copied = dataclasses.replace(train.take([0, 1]), video_ids=['copy', 'mirrored'])
    copied.landmarks[1] = (copied.landmarks[1] * np.array([-1, 1, 1], np.float32)).astype(np.float32)
    leaking = dataclasses.replace(tiny_dataset, splits={'train': train, 'test': dataset.concatenate([copied, test])})
    path = tfds_writer.write_dataset(leaking, str(tmp_path))
    workdir = make_workdir(tiny_dataset.description.label_names, path)
    metrics = evaluation.evaluate(str(workdir))
    assert metrics['copies'] == {'copy': train.video_ids[0], 'mirrored': train.video_ids[1]}
    assert metrics['clips'] == len(test)
    assert metrics['with_copies']['clips'] == len(test) + 2
    logits = checkpoint.load_model(str(workdir)).logits([*copied.landmarks, *test.landmarks])
    correct = logits.argmax(axis=1) == np.concatenate([copied.labels, test.labels])
    assert metrics['accuracy'] == pytest.approx(correct[2:].mean())
    assert metrics['with_copies']['accuracy'] == pytest.approx(correct.mean())
    assert f'2 of {len(test) + 2} test clips are copies of training clips and do not count: copy = ' in (
        capsys.readouterr().out
    )
    assert f'of {len(test) + 2} clips with the copies of training clips' in evaluation.describe(metrics)
    only = dataclasses.replace(tiny_dataset, splits={'test': copied})
    path = tfds_writer.write_dataset(only, str(tmp_path / 'only'))
    with pytest.raises(errors.InputError, match='all 2 clips of the test split are copies of clips'):
        evaluation.evaluate(str(workdir), dataset=path)
