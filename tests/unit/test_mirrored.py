"""The test on mirror images, against landmarks mirrored by hand."""

import json

import numpy as np
import pytest

from slr_jax import checkpoint, dataset
from tests import in_process, workdirs


@pytest.fixture
def workdir(tiny_dataset, tiny_dir, tmp_path):
    return workdirs.write_runs(tmp_path / 'runs', tiny_dataset.description, (0, 1), dataset=tiny_dir)


def test_both_accuracies_of_all_runs(workdir, tiny_dir, capfd, monkeypatch):
    words = in_process.argv(f'experiments.mirrored --workdir={workdir}')
    assert in_process.run_here(words, capfd, monkeypatch) == (0, '')
    with open(f'{workdir}/mirrored.json', encoding='utf-8') as file:
        found = json.load(file)
    clips = dataset.load_dataset(tiny_dir).split('test')
    flipped = [np.concatenate([1 - clip[..., :1], clip[..., 1:]], axis=-1) for clip in clips.landmarks]
    for name, landmarks in (('as they are', clips.landmarks), ('mirrored', flipped)):
        models = [checkpoint.load_model(f'{workdir}/seed_{seed}') for seed in (0, 1)]
        accuracies = [(model.logits(landmarks).argmax(axis=1) == clips.labels).mean() for model in models]
        assert found[name]['accuracy_mean'] == pytest.approx(np.mean(accuracies))
        assert found[name]['clips'] == len(clips)


def test_a_split_that_is_not_there_is_refused(workdir, capfd, monkeypatch):
    words = in_process.argv(f'experiments.mirrored --workdir={workdir} --split=other')
    in_process.check_refusal(*in_process.run_here(words, capfd, monkeypatch), ('other', 'test'))
