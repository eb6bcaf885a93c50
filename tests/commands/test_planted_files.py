"""Folders that somebody else made: nothing in them is run, whatever their files name, and wherever a command is run."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from experiments.fuzzing import sources
from preprocessing import clips
from slr_jax import dataset, errors, workdir
from tests import workdirs
from tests.conftest import ROOT
from tests.in_process import check_refusal

# What our libraries would import if it were there, modules of their own and of Python, and what runs code of itself.
MODULES = (
    *('payload', 'tensorflow', 'torch', 'cloudpickle', 'numexpr', 'bottleneck', 'defusedxml', 'libtpu', 'uarray'),
    *('absl', 'jax', 'numpy', 'pandas', 'google', 'matplotlib', 'PIL', 'cv2', 'av', 'json', 'csv', 'random', 'pickle'),
    *('multiprocessing', 'socket', 'subprocess'),
    *('sitecustomize', 'usercustomize', 'conftest', 'setup', 'jax_plugins/evil', 'etils/__init__', 'scipy/__init__'),
)
SETTINGS = {
    'evil-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n',
    'evil-1.0.dist-info/entry_points.txt': '[jax_plugins]\nevil = payload\n[tensorflow_datasets]\nevil = payload\n',
    'evil.pth': 'import payload\n',
    'matplotlibrc': 'backend: module://payload\ntext.usetex: True\n',
    'setup.cfg': '[options.entry_points]\njax_plugins = evil = payload\n',
    'pyproject.toml': '[project.entry-points.jax_plugins]\nevil = "payload"\n',
    '.env': 'PYTHONSTARTUP=payload.py\n',
    'flagfile': '--config=payload.py\n',
}

FEATURES_DICT = 'tensorflow_datasets.core.features.features_dict.FeaturesDict'
SMALL = '--config.num_layers=1 --config.mlp_dim=8 --config.num_epochs=1'
WRITERS = (
    sources.write_landmarks,
    sources.write_mp_data,
    sources.write_openpose,
    sources.write_pose,
    sources.write_videos,
)


@pytest.fixture(scope='module')
def given(tmp_path_factory, tiny_dataset, tiny_dir):
    """Small valid files of every kind that is read as a folder."""
    root = tmp_path_factory.mktemp('given')
    shutil.copytree(tiny_dir, root / 'tiny')
    sources.write_export(str(root))
    shutil.rmtree(root / 'run')
    workdirs.write_workdir(root / 'run', tiny_dataset.description, dataset='tiny')
    for write in WRITERS:
        (root / write.__name__).mkdir()
        # Some need an extra.
        with contextlib.suppress(ImportError):
            write(str(root / write.__name__))
    (root / 'archives').mkdir()
    sources.write_npz(str(root / 'archives'))
    (root / 'archives' / 'hostile.npz').unlink()
    return root


@pytest.fixture
def plant(tmp_path):
    """Puts code into a folder and all below it; gives a function that says what of it was run."""
    ran = tmp_path / 'ran'

    def plant(folder):
        count = 0
        for parent, _, _ in list(os.walk(folder)):
            for name in MODULES:
                path = os.path.join(parent, f'{name}.py')
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'x') as file:
                    file.write(f'import os\nos.makedirs({str(ran / name)!r}, exist_ok=True)\nraise ImportError\n')
            for name, text in SETTINGS.items():
                path = os.path.join(parent, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'x') as file:
                    file.write(text)
            count += len(MODULES) + len(SETTINGS)
        assert count > 0
        return lambda: sorted(os.listdir(ran)) if ran.exists() else []

    return plant


def run(command, folder):
    """Runs a command in a folder, as a user does who has gone there; gives exit status and stderr."""
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONSAFEPATH'}
    done = subprocess.run(
        [sys.executable, '-m', *command],
        cwd=folder,
        env=environment | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


BUILD = 'preprocessing.build_dataset --name=new --data_dir={out}'
COMMANDS = {
    'dataset': ('tiny', 'preprocessing.export_dataset --dataset=. --format=npz --output={out}.npz'),
    'workdir': ('run', 'slr_jax.evaluate --workdir=. --dataset={given}/tiny --output_dir={out}'),
    'page of a workdir': ('run', 'slr_jax.report --workdir=. --dataset={given}/tiny --output={out}.html'),
    'masks of workdirs': ('several', 'slr_jax.interpret --workdir=. --output_dir={out}'),
    'training': (
        'tiny',
        'slr_jax.train --config={root}/configs/synthetic.py --config.dataset=. --workdir={out} ' + SMALL,
    ),
    'export': ('export', 'slr_jax.import_torch --checkpoint=params.safetensors --workdir={out}'),
    'archives': ('archives', 'slr_jax.predict --workdir={given}/run --landmarks=packed.npz --output={out}.jsonl'),
    'store': (
        'write_landmarks',
        BUILD + ' --source=landmarks --landmarks=extracted --clips=clips.csv --layout=mediapipe_hand',
    ),
    'arrays': ('write_mp_data/clips', BUILD + ' --source=mp_data --input=.'),
    'poses': ('write_pose/mediapipe_hand', BUILD + ' --source=pose --input=. --clips=clips.csv'),
    'openpose': ('write_openpose/clips', BUILD + ' --source=openpose --input=. --frame_size=640x480'),
    'videos': ('write_videos', 'preprocessing.extract_frames --videos=. --output_dir={out}'),
}


@pytest.mark.slow
@pytest.mark.parametrize(('folder', 'command'), COMMANDS.values(), ids=COMMANDS)
def test_nothing_of_the_current_folder_is_run(given, plant, tmp_path, folder, command):
    if not os.listdir(given / folder.partition('/')[0]):
        pytest.skip('an extra is missing')
    shutil.copytree(given / folder, tmp_path / folder)
    ran = plant(tmp_path / folder)
    words = command.format(given=given, root=ROOT, out=tmp_path / 'out').split()
    status, stderr = run(words, tmp_path / folder)
    assert ran() == []
    assert stderr == ''
    assert status == 0


@pytest.mark.slow
def test_worker_processes_take_nothing_from_there(given, shared, plant, tmp_path):
    pytest.importorskip('mediapipe')
    shutil.copytree(given / 'write_videos', tmp_path / 'videos')
    clips.write_clips(str(tmp_path / 'clips.csv'), [clips.Clip('a', 'mp4v.mp4', 0, 'yes', 'train', '')])
    ran = plant(tmp_path / 'videos')
    options = f'--clips=../clips.csv --videos=. --output={tmp_path}/out --model_dir={shared}/models'
    status, stderr = run(['preprocessing.extract_landmarks', *options.split()], tmp_path / 'videos')
    assert ran() == []
    # They have looked.
    check_refusal(status, stderr, ['nothing was seen in the clips'])


READERS = (
    'slr_jax.evaluate --workdir={run} --output_dir={out}',
    'slr_jax.report --workdir={run} --output={out}.html',
    'slr_jax.predict --workdir={run} --landmarks=. --output={out}.jsonl',
    'preprocessing.export_dataset --dataset=. --format=npz --output={out}.npz',
    'slr_jax.train --config={root}/configs/synthetic.py --config.dataset=. --workdir={out} ' + SMALL,
)


@pytest.mark.parametrize('command', READERS)
def test_no_class_that_a_dataset_names_is_imported(given, plant, tmp_path, command):
    for name in ('tiny', 'run'):
        shutil.copytree(given / name, tmp_path / name)
    ran = plant(tmp_path / 'tiny')
    for name, old, new in (
        ('tiny/features.json', 'tensorflow_datasets.core.features.text_feature.Text', 'payload.Text'),
        ('run/config.json', '"tiny"', json.dumps(str(tmp_path / 'tiny'))),
    ):
        text = (tmp_path / name).read_text()
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
    words = command.format(run=tmp_path / 'run', root=ROOT, out=tmp_path / 'out').split()
    status, stderr = run(words, tmp_path / 'tiny')
    assert ran() == []
    check_refusal(status, stderr, ['features.json', "'payload.Text'"])


@pytest.mark.parametrize(
    'features',
    [
        {'pythonClassName': 'payload.Text'},
        {'python_class_name': 'payload.Text'},
        {'type': 'payload.Text', 'content': {}},
        {'pythonClassName': FEATURES_DICT, 'featuresDict': {'features': {'a': {'pythonClassName': 'payload.Text'}}}},
        {'type': FEATURES_DICT, 'content': {'a': {'type': 'payload.Text', 'content': '{}'}}},
        {
            'type': FEATURES_DICT,
            'proto_cls': 'tensorflow_datasets.FeaturesDict',
            'content': '{"features": {"a": {"pythonClassName": "payload.Text"}}}',
        },
    ],
)
def test_no_spelling_of_a_class_is_imported(given, tmp_path, monkeypatch, features):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'payload.py').write_text('raise SystemExit')
    shutil.copytree(given / 'tiny', tmp_path / 'tiny')
    (tmp_path / 'tiny' / 'features.json').write_text(json.dumps(features))
    with pytest.raises(errors.InputError, match=r'features\.json names .*, expected landmarks of'):
        dataset.load_dataset(str(tmp_path / 'tiny'))


@pytest.mark.parametrize('name', ['../out', '/out', 'a/b', 'a\\b', '..', '.out', '', 'a\nb', 'a\x1b[31mb', 'a\u202eb'])
def test_names_that_lead_elsewhere_are_refused(given, tmp_path, name):
    shutil.copytree(given / 'tiny', tmp_path / 'tiny')
    shutil.copytree(given / 'several', tmp_path / 'several')
    info, index = tmp_path / 'tiny' / 'dataset_info.json', tmp_path / 'several' / 'runs.json'
    info.write_text(json.dumps(json.loads(info.read_text()) | {'name': name}))
    with pytest.raises(errors.InputError, match=r'dataset_info\.json: name is .*, expected a name without'):
        dataset.load_dataset(str(tmp_path / 'tiny'))
    runs = json.loads(index.read_text())['runs']
    for field, value in (('name', name), ('settings', {name + '/': 1})):
        index.write_text(json.dumps({'runs': [runs[0], runs[1] | {field: value}]}))
        with pytest.raises(errors.InputError, match=rf'runs\.json: {field} is .*, expected a name without'):
            workdir.read_index(str(tmp_path / 'several'))


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'fileFormat': 'parquet'}, "fileFormat is 'parquet', expected 'array_record'"),
        ({'filepathTemplate': '../{SHARD_X_OF_Y}'}, 'the records of train are .*, expected files next to it'),
        ({'filepathTemplate': 'gs://bucket/{SHARD_X_OF_Y}'}, 'the records of train are .*, expected files next to it'),
        ({'filepathTemplate': '/dev/zero'}, 'the records of train are /dev/zero, expected files next to it'),
    ],
)
def test_records_are_those_of_the_folder(given, tmp_path, fields, sentence):
    shutil.copytree(given / 'tiny', tmp_path / 'tiny')
    path = tmp_path / 'tiny' / 'dataset_info.json'
    info = json.loads(path.read_text())
    for part in (info, *info['splits']):
        part.update({field: value for field, value in fields.items() if field in part})
    path.write_text(json.dumps(info))
    with pytest.raises(errors.InputError, match=rf'dataset_info\.json: {sentence}'):
        dataset.load_dataset(str(tmp_path / 'tiny'))


def test_a_dataset_is_never_an_address(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(given / 'tiny', tmp_path / 'gs:' / 'bucket' / 'tiny')
    assert dataset.load_dataset('gs://bucket/tiny').description.name == 'tiny'


def test_a_config_file_imports_what_is_next_to_it(tmp_path):
    (tmp_path / 'mine.py').write_text('LAYERS = -3\n')
    (tmp_path / 'config.py').write_text(
        'import mine\nfrom slr_jax import config\n\n\n'
        'def get_config():\n    found = config.default_config()\n    found.num_layers = mine.LAYERS\n    return found\n'
    )
    status, stderr = run('slr_jax.train --config=config.py --config.dataset=x --workdir=out'.split(), tmp_path)
    check_refusal(status, stderr, ['config.num_layers', '-3'])
