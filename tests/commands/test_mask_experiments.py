"""experiments.mask_faithfulness and mask_stability, tiny, on recordings of which it is known which points matter."""

import csv
import shutil

import pytest

from experiments import mask_faithfulness, mask_stability
from preprocessing import synthetic
from preprocessing.formats import tfds_writer
from slr_jax import errors, landmarks, train_lib

SMALL = {
    **{'num_layers': 1, 'mlp_dim': 16, 'num_frames': 8, 'batch_size': 8, 'num_epochs': 16, 'warmup_epochs': 1.0},
    **{'learning_rate': 0.004, 'noise_std': 0.0, 'label_smoothing': 0.0, 'weight_decay': 0.0, 'dropout_rate': 0.0},
}
FEW_EPOCHS = {**SMALL, 'num_epochs': 6}


@pytest.fixture(scope='module')
def planted(tmp_path_factory):
    layout = landmarks.LAYOUTS['mediapipe_hand']
    counts = {'train': 30, 'validation': 10, 'test': 1}
    dataset = synthetic.make_dataset('planted', layout, 3, counts, seed=2, informative_points=[4, 8, 12, 16])
    return tfds_writer.write_dataset(dataset, str(tmp_path_factory.mktemp('planted')))


def _read(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def _refuse_training(monkeypatch):
    def train(config, workdir):
        raise AssertionError(workdir)

    monkeypatch.setattr(train_lib, 'train_and_evaluate', train)


@pytest.mark.long
def test_informative_points_are_missed_most(planted, tmp_path, monkeypatch, capsys):
    options = ('permutation',), ('permutation',), 2, (0.5,)
    (exchange, retraining) = mask_faithfulness.compare(planted, str(tmp_path / 'out'), *options, **SMALL)
    assert (exchange['test'], retraining['test']) == ('exchange', 'retraining')
    assert exchange['most_first_low'] > 0
    assert exchange['between_low'] > 0
    assert retraining['between'] > 0
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    kinds = {f'mask_faithfulness.{kind}' for kind in ('md', 'png', 'svg')}
    assert names == {'runs', 'runs.csv', 'faithfulness.csv', *kinds}
    rows = _read(tmp_path / 'out' / 'runs.csv')
    assert len(rows) == 2 * 3 * (7 + 2)
    assert '| permutation | most first |' in (tmp_path / 'out' / 'mask_faithfulness.md').read_text()
    # Of random points each seed has its own.
    folders = {path.name for path in (tmp_path / 'out' / 'runs').glob('*')}
    assert {'all_points', 'points_dropped', 'random_11_points_0', 'random_11_points_1'} < folders
    assert len(folders) == 4 + 2

    # What is done is not done again; a part that is lacking is.
    _refuse_training(monkeypatch)
    tables = (tmp_path / 'out' / 'runs.csv').read_bytes(), (tmp_path / 'out' / 'mask_faithfulness.md').read_bytes()
    (tmp_path / 'out' / 'runs' / 'points_dropped' / 'seed_1' / 'exchange_permutation_most_first.json').unlink()
    assert [exchange, retraining] == mask_faithfulness.compare(planted, str(tmp_path / 'out'), *options, **SMALL)
    again = (tmp_path / 'out' / 'runs.csv').read_bytes(), (tmp_path / 'out' / 'mask_faithfulness.md').read_bytes()
    assert again == tables
    capsys.readouterr()
    shutil.rmtree(tmp_path / 'out' / 'runs' / 'random_11_points_1')
    with pytest.raises(AssertionError, match='random_11_points_1'):
        mask_faithfulness.compare(planted, str(tmp_path / 'out'), *options, **SMALL)
    with pytest.raises(errors.InputError, match=r'points_dropped holds another run: config\.mlp_dim is 16 .* 32 here'):
        mask_faithfulness.compare(planted, str(tmp_path / 'out'), *options, **{**SMALL, 'mlp_dim': 32})


def test_masks_of_seeds_labels_and_shadows(planted, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    true, shuffled = mask_stability.compare(planted, str(out), ['absolute'], 3, **FEW_EPOCHS)
    assert true['kendall_w'] > 1 / 3
    assert true['tau'] > shuffled['tau_with_true']
    names = {path.name for path in out.iterdir()}
    kinds = {f'mask_stability.{kind}' for kind in ('md', 'png', 'svg')}
    assert names == {'data', 'runs', 'runs.csv', 'stability.csv', 'shadows.csv', *kinds}
    points = _read(out / 'shadows.csv')
    assert [row['point'] for row in points] == list(landmarks.LAYOUTS['mediapipe_hand'].points)
    weights = [float(row['weight']) for row in points]
    assert sorted(range(21), key=lambda point: -weights[point])[0] in (4, 8, 12, 16)
    rows = _read(out / 'runs.csv')
    assert len(rows) == 3 * (21 + 21 + 42)
    assert sum(row['point'].startswith('shadow_') for row in rows) == 3 * 21
    _refuse_training(monkeypatch)
    page = (out / 'mask_stability.md').read_bytes()
    (out / 'runs' / 'shadows' / 'seed_2' / 'importance_absolute.json').unlink()
    assert mask_stability.compare(planted, str(out), ['absolute'], 3, **FEW_EPOCHS) == [true, shuffled]
    assert (out / 'mask_stability.md').read_bytes() == page
