"""Configs, datasets and workdirs that training refuses."""

import os

import pytest

from slr_jax import config as config_lib
from slr_jax import dataset, errors, files, train_lib
from slr_jax import workdir as workdir_lib
from tests import in_process
from tests.refusals import world as world_lib

CONFIG = 'slr_jax.train --workdir={out} --config='
SYNTHETIC = CONFIG + '{root}/configs/synthetic.py'
SMALL = ' '.join([SYNTHETIC, *(f'--config.{field}={value}' for field, value in world_lib.SMALL_MODEL.items())])
DATASET = SMALL + ' --config.dataset={w}/'
TRAIN = SMALL + ' --config.dataset={w}/data/tiny'
RESUME = TRAIN + ' --workdir={w}/'

CASES = {
    # Flags
    'no config': ('slr_jax.train --workdir={out}', '--config'),
    'no flags': ('slr_jax.train', '--config', '--workdir'),
    'unknown flag': (TRAIN + ' --epochs=3', 'no flag --epochs', '--config.num_epochs'),
    'field given as a flag': (TRAIN + ' --dataset=x', 'no flag --dataset', '--config.dataset'),
    'misspelled flag': (TRAIN + ' --wrkdir=x', 'no flag --wrkdir', 'did you mean --workdir?'),
    'field of slr_jax 0.1.0': (TRAIN + ' --config.num_seeds=2', 'num_seeds', 'num_steps'),
    'field of another type': (
        TRAIN + ' --config.batch_size=many',
        '--config.batch_size=many',
        "'many'",
        'whole number',
    ),
    'field that is true or false': (TRAIN + ' --config.presence=maybe', '--config.presence=maybe', 'true or false'),
    'number that is not whole': (TRAIN + ' --config.num_epochs=1.5', '--config.num_epochs=1.5', 'whole number'),
    'field that is a number': (TRAIN + ' --config.momentum=much', '--config.momentum=much', "'much'", 'a number'),
    'one flag of three': (TRAIN + ' --process_id=0', '--coordinator', '--num_processes', '--process_id'),
    'process beyond their number': (
        TRAIN + ' --coordinator=localhost:1 --num_processes=2 --process_id=2',
        *('--process_id', '--num_processes', '2'),
    ),
    'empty workdir': ('slr_jax.train --config={root}/configs/synthetic.py --workdir=', '--workdir= is empty'),
    # Config files
    'empty config path': ('slr_jax.train --config= --workdir={out}', '--config=: there is no such file'),
    'no such config': (CONFIG + '{w}/nowhere.py', '{w}/nowhere.py', 'no such file', 'configs/'),
    'config by its name': (
        CONFIG + 'own_videos',
        '--config=own_videos',
        'did you mean --config=configs/own_videos.py?',
    ),
    'config without its folder': (CONFIG + 'ksl31.py', '--config=ksl31.py', 'did you mean --config=configs/ksl13.py?'),
    'misspelled config': (CONFIG + '{w}/config/rases.py', 'rases.py', 'did you mean --config={w}/config/raises.py?'),
    'config is a folder': (CONFIG + '{w}/config', '--config={w}/config', 'folder', 'config file'),
    'config is noise': (CONFIG + '{w}/config/noise.py', '--config={w}/config/noise.py'),
    'empty config': (CONFIG + '{w}/config/empty.py', 'config/empty.py', 'get_config'),
    'config with a syntax error': (CONFIG + '{w}/config/syntax.py', 'config/syntax.py', 'syntax', 'line 1'),
    'config with a field that is not one': (CONFIG + '{w}/config/typo.py', 'config.lerning_rate', 'learning_rate'),
    'config that is not one': (CONFIG + '{w}/config/dict.py', 'dict', 'ConfigDict'),
    'config without a dataset': (CONFIG + '{w}/config/bare.py', 'config.dataset', 'TFDS'),
    'config that raises': (CONFIG + '{w}/config/raises.py', 'config/raises.py', 'line 2', 'RuntimeError: no such luck'),
    'config that raises, with a field': (
        CONFIG + '{w}/config/raises.py --config.seed=3',
        *('config/raises.py', 'line 2', 'RuntimeError: no such luck'),
    ),
    # Values
    'unknown optimizer': (TRAIN + ' --config.optimizer=lion', 'config.optimizer', "'lion'", 'sgd', 'momentum', 'adamw'),
    'heads that do not divide the width': (TRAIN + ' --config.num_heads=5', 'num_heads', '5', '42', '7'),
    'heads that do not divide the width of conv_transformer': (
        TRAIN + ' --config.model=conv_transformer --config.width=16 --config.num_heads=7',
        *('num_heads', '7', 'width 16', '8'),
    ),
    'huge seed': (TRAIN + ' --config.seed=99999999999999999999', 'config.seed', '99999999999999999999', '2**32'),
    'seeds are text': (TRAIN + ' --config.seeds=one', 'config.seeds', "'one'", 'whole'),
    'seed twice': (TRAIN + ' --config.seeds=1,1', 'config.seeds', '(1, 1)'),
    'illegal value in a sweep': (
        TRAIN + ' --config.sweep.dropout_rate=0.1,1.5',
        'config.dropout_rate',
        '1.5',
        '0',
        '1',
    ),
    # Datasets
    'no dataset': (SYNTHETIC + ' --config.dataset=', 'config.dataset', 'TFDS'),
    'dataset of another kind': (DATASET + 'other_directory', '{w}/other_directory', 'dataset_info.json', 'TFDS'),
    'damaged dataset': (DATASET + 'data/record_cut', 'data/record_cut', 'TFDS', 'Corrupted'),
    'no validation split': (DATASET + 'data/only_train', 'only_train', 'config.validation', "'none'"),
    'no clip left to validate': (
        TRAIN + ' --config.validation=from_train --config.validation_fraction=0.01',
        *('config.validation_fraction', 'train_fraction'),
    ),
    'landmarks without z': (
        DATASET + 'data/flat --config.coordinates=xyz --config.num_heads=7',
        *('coordinates', "'xyz'", 'train_00000', 'z', "'xy'"),
    ),
    # Fine-tuning
    'begin with nothing': (TRAIN + ' --config.init_from={w}/nowhere', 'config.init_from', '{w}/nowhere', 'config.json'),
    'begin with a run without checkpoints': (
        TRAIN + ' --config.init_from={w}/no_checkpoints',
        *('config.init_from', '{w}/no_checkpoints', 'checkpoints'),
    ),
    'begin with another normalization': (
        TRAIN + ' --config.init_from={w}/run --config.normalize=centered --config.missing_value=0.5',
        *(
            'config.init_from',
            '{w}/run',
            'config.normalize',
            "'none'",
            "'centered'",
            'config.missing_value',
            '0.0',
            '0.5',
        ),
    ),
    'begin with another layout': (
        DATASET + 'data/two_hands --config.init_from={w}/run',
        *('{w}/run', 'layout', "'mediapipe_hand'", "'mediapipe_two_hands'"),
    ),
    'freeze what the model lacks': (
        TRAIN + ' --config.freeze=encoder,decodr',
        *('config.freeze', "'decodr'", 'class_query', 'encoder', 'classifier', 'mask', 'did you mean decoder'),
    ),
    'freeze everything': (TRAIN + " --config.freeze='*'", 'config.freeze', "('*',)", 'no parameter'),
    # Workdirs
    'fewer epochs': (RESUME + 'longer --config.num_epochs=3', '{w}/longer', 'config.num_epochs', '4', '3'),
    'a cosine schedule made longer': (
        RESUME + 'run --config.num_epochs=3',
        *('{w}/run', 'config.num_epochs', '1', '3', 'cosine', 'config.init_from={w}/run'),
    ),
    'another config': (RESUME + 'run --config.seed=5', '{w}/run', 'config.seed', '379', '5'),
    'another learning rate': (
        RESUME + 'run --config.learning_rate=0.5',
        *('{w}/run', 'config.learning_rate', '0.5', 'another --workdir', '--config.init_from={w}/run'),
    ),
    'workdir named as a file': (TRAIN + ' --workdir={out}.ckpt', '.ckpt', 'a folder is written'),
    'published dataset that is not there': (
        SMALL + ' --config.dataset={w}/wlasl100',
        '{w}/wlasl100',
        'docs/published.md',
    ),
    'dataset that is not there': (DATASET + 'data/mine', '{w}/data/mine', 'preprocessing.videos_to_dataset'),
    'damaged checkpoint': (RESUME + 'checkpoint_noise', '{w}/checkpoint_noise/checkpoints/1', 'damaged'),
    'empty metrics': (RESUME + 'metrics_empty', '{w}/metrics_empty/metrics.csv', 'damaged'),
    'metrics without columns': (RESUME + 'metrics_columns', '{w}/metrics_columns/metrics.csv', 'train_loss'),
    'scores cut in the middle': (RESUME + 'scores_cut', '{w}/scores_cut/checkpoints', 'damaged', 'metrics of an epoch'),
}


FIELDS = {
    'lr': 'learning_rate',
    'learningrate': 'learning_rate',
    'epochs': 'num_epochs',
    'batchsize': 'batch_size',
    'bs': 'batch_size',
    'wd': 'weight_decay',
    'dropout': 'dropout_rate',
    'layers': 'num_layers',
    'num-heads': 'num_heads',
    'rotation': 'augment.rotation',
    'augment.rotaton': 'augment.rotation',
    'augment.lr': 'learning_rate',
    'sweep.lr': 'sweep.learning_rate',
    'sweep.weigth_decay': 'sweep.weight_decay',
}


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('field', FIELDS)
def test_an_unknown_field_is_refused_with_the_nearest(refuse, field):
    refuse(TRAIN + f' --config.{field}=1', f'config.{field}', f'did you mean config.{FIELDS[field]}?')


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('field', ['bogus', 'augment.bogus', 'xyzzy.y'])
def test_where_no_field_is_near_the_list_of_all_is_named(refuse, field):
    refuse(TRAIN + f' --config.{field}=1', f'config.{field}', 'slr_jax/config.py lists all fields')


@pytest.mark.usefixtures('workdirs', 'config_files')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


# --- Workdirs that hold something else

WORKDIRS = {
    'file': ('a_file', 'tiny', 'a_file', 'directory'),
    'directory of another kind': ('other_directory', 'tiny', 'other_directory', 'holiday.jpg'),
    'run on another dataset': ('run', 'four_classes', 'run', 'label_names', 'fingerprint'),
    'config cut in the middle': ('config_cut', 'tiny', 'config_cut/config.json', 'JSON', 'line'),
    'config is a list': ('config_list', 'tiny', 'config_list/config.json', 'list', 'JSON object'),
    'config lacks fields': ('config_fields', 'tiny', 'config_fields/config.json', "'model'"),
    'dataset cut in the middle': ('dataset_cut', 'tiny', 'dataset_cut/dataset.json', 'JSON', 'line'),
}


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('case', WORKDIRS.values(), ids=WORKDIRS)
def test_workdir_of_something_else_is_refused(world, case):
    workdir, data, *facts = case
    before = in_process.snapshot(world)
    content = dataset.load_dataset(str(world / 'data' / data))
    with pytest.raises(errors.InputError, match=_in_any_order(facts)):
        workdir_lib.create_or_check(
            str(world / workdir), world_lib.make_config(world / 'data' / data), content.summary()
        )
    assert in_process.snapshot(world) == before


@pytest.mark.usefixtures('workdirs')
def test_a_workdir_in_which_another_process_trains_is_refused(world):
    config = world_lib.make_config(world / 'data' / 'tiny')
    with files.only_writer(str(world / 'run')):
        before = in_process.snapshot(world)
        with pytest.raises(errors.InputError, match=f'process {os.getpid()} on .* writes to {world}/run; wait for it'):
            train_lib.train_and_evaluate(config, str(world / 'run'))
        assert in_process.snapshot(world) == before


# --- Values of a config: the field, the value, and what is said of the legal ones

VALUES = [
    ('model', 'lstm', 'spoter_pe'),
    ('validation', 'half', 'none'),
    ('normalize', 'zscore', 'none', 'spoter'),
    ('coordinates', 'yx', 'xy', 'xyz'),
    ('trim', 'hands', 'none', 'ends', 'all'),
    ('dtype', 'float16', 'float32', 'bfloat16'),
    ('pooling', 'mean', 'class_query', 'max_mean'),
    ('mask_gates', 'joint', 'none', 'point', 'coordinate'),
    ('optimizer', 'adam', 'sgd', 'momentum', 'adamw'),
    ('schedule', 'linear', 'constant', 'cosine'),
    *((field, 0, '1') for field in ('batch_size', 'num_epochs', 'num_heads', 'num_layers', 'mlp_dim')),
    *((field, 0, '1') for field in ('num_steps', 'early_stop_epochs', 'max_frames', 'num_frames')),
    *((field, -1, '0') for field in ('differences', 'interpolate_gaps')),
    *((field, 0, '1') for field in ('width', 'conv_blocks', 'kernel_size')),
    ('kernel_size', 4, 'odd'),
    *((field, 0.0, '0') for field in ('gate_std', 'gate_rate')),
    *((field, -0.5, '0') for field in ('mask_l1', 'gate_price')),
    *(('ema', value, '0', '1') for value in (0.0, 1.0)),
    *((field, 1.5, '0', '1') for field in ('dropout_rate', 'label_smoothing', 'momentum')),
    *((field, 1.0, '0', '1') for field in ('drop_path_rate', 'late_dropout_rate')),
    *((field, -0.5, '0') for field in ('noise_std', 'weight_decay', 'warmup_epochs', 'late_dropout_epoch')),
    ('seed', -1, '0', '2**32'),
    ('learning_rate', 0.0, '0'),
    *(
        (field, float('nan'), 'finite')
        for field in ('learning_rate', 'dropout_rate', 'noise_mean', 'missing_value', 'ema')
    ),
    *((field, float('inf'), 'finite') for field in ('learning_rate', 'noise_std', 'weight_decay', 'warmup_epochs')),
    ('grad_clip_norm', -1.0, '0'),
    *(('validation_fraction', value, '0', '1') for value in (0.0, 1.0)),
    *(('train_fraction', value, '0', '1') for value in (0.0, 1.5)),
]


@pytest.mark.parametrize('case', VALUES, ids=lambda case: f'{case[0]} {case[1]}')
def test_illegal_value_is_refused(case):
    field, value, *expected = case
    _refuse_config({field: value}, f'config.{field}', str(value), *expected)


CONFIGS = {
    'no dataset': ({'dataset': ''}, 'config.dataset', 'TFDS'),
    'empty seeds': ({'seeds': ()}, 'config.seeds', '()'),
    'negative seed': ({'seeds': (1, -1)}, 'config.seed', '-1', '0'),
    'seed that is not whole': ({'seeds': (1.5,)}, 'config.seeds', '(1.5,)', 'whole'),
    'probability above 1': ({'augment': {'mirror': 1.5}}, 'config.augment.mirror', '1.5', '0', '1'),
    'nothing of a clip': ({'augment': {'crop_least': 0.0}}, 'config.augment.crop_least', '0.0', '0', '1'),
    'unknown augmentation': ({'augment': {'miror': 0.5}}, 'config.augment.miror', 'mirror'),
    'shadows of augmented clips': (
        {'shadow_points': True, 'augment': {'mirror': 0.5}},
        *('config.shadow_points', 'config.augment.mirror', '0.0'),
    ),
    'gates of a model without a mask': (
        {'mask_gates': 'point', 'model': 'baseline'},
        *('config.mask_gates', "'point'", "'baseline'", 'class_query', 'sequence_query', 'conv_transformer'),
    ),
    'price of a mask that is not there': (
        {'mask_l1': 0.1, 'model': 'spoter_pe'},
        *('config.mask_l1', '0.1', "'spoter_pe'", 'class_query'),
    ),
    'price of gates that are not there': (
        {'gate_price': 0.1},
        'config.gate_price',
        '0.1',
        'config.mask_gates',
        "'none'",
    ),
    'sweep of text': ({'sweep': {'learning_rate': ('a',)}}, 'config.sweep.learning_rate', "('a',)", 'numbers'),
    'sweep of a value twice': ({'sweep': {'learning_rate': (0.1, 0.1)}}, 'config.sweep.learning_rate', '(0.1, 0.1)'),
    'no devices': ({'cpu_devices': 0}, 'config.cpu_devices', '0', '1'),
    'more devices than clips': (
        {'cpu_devices': 9, 'batch_size': 4, 'seeds': (1, 2), 'runs_at_once': 2},
        *('config.cpu_devices', '9', 'config.batch_size', '4', 'config.runs_at_once'),
    ),
    'no runs at once': ({'runs_at_once': 0}, 'config.runs_at_once', '0', '1'),
    'sweep of a field that cannot be swept': ({'sweep': {'momentum': (0.1,)}}, 'config.sweep.momentum', 'not a field'),
    'early stopping of runs at once': (
        {'seeds': (1, 2), 'runs_at_once': 2, 'early_stop_epochs': 1},
        *('config.early_stop_epochs', 'config.runs_at_once', '1'),
    ),
    'early stopping without validation': (
        {'early_stop_epochs': 3, 'validation': 'none'},
        *('config.early_stop_epochs', 'config.validation', "'none'"),
    ),
}


@pytest.mark.parametrize('case', CONFIGS.values(), ids=CONFIGS)
def test_illegal_config_is_refused(case):
    _refuse_config(*case)


def _refuse_config(fields, *facts):
    with pytest.raises(errors.InputError, match=_in_any_order(facts)):
        config_lib.expand(config_lib.resolve(world_lib.make_config('somewhere', **fields)))


def _in_any_order(facts):
    return ''.join(f'(?=.*{in_process.whole(fact)})' for fact in facts)
