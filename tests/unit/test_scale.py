"""Growth with clips and classes, measured with tiny numbers."""

import csv
import json

import numpy as np
import pytest

from experiments import scale
from preprocessing.formats import npz
from slr_jax import errors
from tests import in_process


def test_an_archive_has_six_clips_of_each_class_and_is_always_the_same(tmp_path):
    scale.make_archive(str(tmp_path / 'a.npz'), 5)
    scale.make_archive(str(tmp_path / 'b.npz'), 5)
    first, second = (npz.read_archive(str(tmp_path / f'{name}.npz'), 'scale') for name in 'ab')
    assert first.fingerprint() == second.fingerprint()
    assert {split: np.bincount(clips.labels).tolist() for split, clips in first.splits.items()} == {
        'train': [4] * 5,
        'validation': [1] * 5,
        'test': [1] * 5,
    }
    frames = np.concatenate(first.split('train').landmarks)
    assert frames.min(initial=0, where=~np.isnan(frames)) > -1
    assert 0 < np.isnan(frames).mean() < 0.1


def test_growth_is_divided_by_that_of_the_clips():
    rows = [
        {'command': command, 'clips': clips, 'seconds': seconds, 'peak memory, MB': memory}
        for command, clips, seconds, memory in (
            ('train', 10, 2.0, 100),
            ('evaluate', 10, 1.0, 50),
            ('train', 40, 8.0, 200),
            ('evaluate', 40, 16.0, 50),
        )
    ]
    found = [
        (
            row['command'],
            row['clips'],
            row['seconds, growth / proportional'],
            row['peak memory, MB, growth / proportional'],
        )
        for row in scale.add_growth(rows)
    ]
    assert found == [('train', 10, 1, 1), ('train', 40, 1, 0.5), ('evaluate', 10, 1, 1), ('evaluate', 40, 4, 0.25)]


@pytest.mark.parametrize('only', ['extraction,clips', ''])
def test_scale_refuses(tmp_path, capfd, monkeypatch, only):
    argv = in_process.argv(f'experiments.scale --only={only} --output_dir={{out}}/scale', out=tmp_path)
    facts = ['--only', repr(only), 'extraction, dataset, classes']
    in_process.check_refusal(*in_process.run_here(argv, capfd, monkeypatch), facts)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_killed_extraction_goes_on_and_checks_what_was_done(tmp_path, monkeypatch):
    pytest.importorskip('cv2')
    pytest.importorskip('mediapipe')
    rows, starts = scale.measure_extraction(str(tmp_path), 30, num_workers=1)
    assert [row['clips done'] for row in rows] == sorted(row['clips done'] for row in rows)
    assert rows[-1]['clips done'] == 30
    assert all(row['largest worker, MB'] > 10 for row in rows)
    assert [row['clips done before'] for row in starts] == [0, 27]
    landmarks = tmp_path / 'landmarks'
    report = (landmarks / 'report.csv').read_bytes()
    with open(landmarks / 'report.csv', newline='') as file:
        assert {(row['status'], row['frames']) for row in csv.DictReader(file)} == {('done', '4')}
    # Whatever is still to do, what was done is checked, and the report is the same.
    (landmarks / 'clip_00029.npz').unlink()
    scale.extract(str(tmp_path), 30, 1)
    assert (landmarks / 'report.csv').read_bytes() == report
    damaged = landmarks / 'clip_00007.npz'
    damaged.write_bytes(damaged.read_bytes()[:-9])
    (landmarks / 'clip_00029.npz').unlink()
    with pytest.raises(errors.InputError, match=f'^{damaged} is damaged'):
        scale.extract(str(tmp_path), 30, 1)
    assert (landmarks / 'report.csv').read_bytes() == report


@pytest.mark.long
def test_the_commands_run_on_a_made_dataset(tmp_path):
    rows = list(scale.measure_dataset(str(tmp_path), 3))
    assert [row['command'] for row in rows] == ['build_dataset', 'train', 'evaluate', 'predict']
    assert {row['clips'] for row in rows} == {18}
    assert all(row['seconds'] > 0 and 50 < row['peak memory, MB'] < 5000 for row in rows)
    metrics = json.loads((tmp_path / 'run' / 'evaluation' / 'test_best' / 'metrics.json').read_text())
    assert metrics['clips'] == 3
    assert (tmp_path / 'output.txt').read_text().count('clip_') == 3
