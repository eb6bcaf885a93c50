"""What the modules of preprocessing import, those of its packages included; and commands without what they need."""

import os
import re
import subprocess
import sys

import pytest

from slr_jax import errors
from tests.conftest import ROOT
from tests.in_process import check_refusal

# What these need comes with the extras preprocessing and beam. No command is among them: they import late.
WITH_EXTRAS = {
    'preprocessing.extraction.camera',
    'preprocessing.extraction.clip_extractor',
    'preprocessing.extraction.drawing',
    'preprocessing.extraction.frame_files',
    'preprocessing.extraction.frame_stream',
    'preprocessing.extraction.run_beam',
    'preprocessing.extraction.run_local',
    'preprocessing.extraction.screen',
    'preprocessing.extraction.video',
}
EXTRAS = ('cv2', 'mediapipe', 'av', 'apache_beam', 'pose_format', 'safetensors')


def find_modules():
    paths = (path.relative_to(ROOT).with_suffix('') for path in (ROOT / 'preprocessing').rglob('*.py'))
    return {'.'.join(path.parts).removesuffix('.__init__') for path in paths}


def run(code):
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, '')
    return done.stdout


def test_preprocessing_imports_no_jax():
    pytest.importorskip('cv2')
    modules = find_modules() - {'preprocessing.extraction.run_beam'}
    assert 'preprocessing.formats.npz' in modules
    assert run(f'import sys, {", ".join(sorted(modules))}; print("jax" in sys.modules)') == 'False\n'


def test_most_modules_need_no_extras():
    modules = find_modules() - WITH_EXTRAS
    some = ('build_dataset', 'clips', 'extraction.store', 'formats.extracted', 'extraction.landmarker', 'wlasl')
    assert {f'preprocessing.{name}' for name in some} <= modules
    # Where cv2 is installed, TFDS imports it.
    code = (
        f'import sys; sys.modules.update(dict.fromkeys({EXTRAS}));'
        f'import {", ".join(sorted(modules))};'
        'print([name for name in ("jax", "flax", "tensorflow", "torch") if name in sys.modules])'
    )
    assert run(code) == '[]\n'


USES_EXTRAS = re.compile('extract|inspect|videos_to|_dataset|import_torch|predict')


def find_commands():
    paths = [path for package in ('preprocessing', 'slr_jax', 'experiments') for path in (ROOT / package).glob('*.py')]
    return sorted(f'{path.parent.name}.{path.stem}' for path in paths if '\nif __name__ ==' in path.read_text())


@pytest.fixture
def run_without(tmp_path):
    """Runs a command where the import of some modules raises an error; gives exit status, stdout and stderr."""

    def run_without(modules, raising, command):
        words = [sys.executable, '-m', *command.format(out=tmp_path / 'out').split()]
        for module in modules:
            (tmp_path / f'{module}.py').write_text(raising.format(module=module))
        path = os.pathsep.join((str(tmp_path), str(ROOT)))
        environment = os.environ | {'PYTHONPATH': path}
        done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert not (tmp_path / 'out').exists()
        return done.returncode, done.stdout, done.stderr

    return run_without


NOT_INSTALLED = 'raise ModuleNotFoundError("No module named {module!r}", name="{module}")'
NO_LIBRARY = 'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")'


@pytest.mark.slow
@pytest.mark.parametrize('command', [name for name in find_commands() if USES_EXTRAS.search(name)])
def test_help_needs_no_extras(command, run_without):
    _, stdout, stderr = run_without(EXTRAS, NOT_INSTALLED, f'{command} --help')
    assert '--' in stdout
    assert stderr == ''


VIDEO_COMMANDS = (
    'preprocessing.extract_landmarks --clips=x --videos=x --output={out} --model_dir=x',
    'preprocessing.extract_landmarks --clips=x --videos=x --output={out} --model_dir=x --beam_runner=DirectRunner',
    'preprocessing.extract_frames --videos=x --output_dir={out}',
    'preprocessing.inspect --landmarks=x --video_id=x --videos=x --output={out}',
    'experiments.extraction_speed --videos=x --model_dir=x',
    'slr_jax.predict --workdir=x --videos=x --output={out}',
)


@pytest.mark.slow
@pytest.mark.parametrize('command', VIDEO_COMMANDS)
def test_what_to_install_for_videos(command, run_without):
    modules = ('av', 'cv2', 'mediapipe')
    status, _, stderr = run_without(modules, NOT_INSTALLED, command)
    check_refusal(status, stderr, ['is not installed', "pip install 'slr_jax[preprocessing]'"])
    status, _, stderr = run_without(modules, NO_LIBRARY, command)
    check_refusal(status, stderr, ['libGL.so.1', 'apt install libgl1 libglib2.0-0 libegl1 libgles2'])


@pytest.mark.parametrize(
    ('modules', 'command', 'words'),
    [
        (['apache_beam'], VIDEO_COMMANDS[1], "apache_beam is not installed, get it with pip install 'slr_jax[beam]'"),
        (
            ['safetensors'],
            'slr_jax.import_torch --checkpoint=x --workdir={out}',
            "safetensors is not installed, get it with pip install 'slr_jax'",
        ),
        (
            ['statsmodels'],
            'experiments.cross_validation --dataset=x --output_dir={out}',
            "statsmodels is not installed, get it with pip install 'slr_jax[experiments]'",
        ),
        (
            ['statsmodels'],
            'experiments.paper_table --datasets=x --output_dir={out}',
            "statsmodels is not installed, get it with pip install 'slr_jax[experiments]'",
        ),
    ],
)
@pytest.mark.slow
def test_what_to_install(modules, command, words, run_without):
    status, _, stderr = run_without(modules, NOT_INSTALLED, command)
    check_refusal(status, stderr, [words])


def test_only_what_can_be_installed_is_a_missing_dependency():
    library = 'libGLESv2.so.2: cannot open shared object file: No such file or directory'
    for error in (OSError(library), ImportError(library)):
        assert errors.missing_dependency(error).startswith('libGLESv2.so.2 is missing')
    assert 'mediapipe is' in errors.missing_dependency(ModuleNotFoundError(name='mediapipe.tasks'))
    own = ModuleNotFoundError(name='slr_jax.nothing')
    for error in (own, ImportError('cannot import name'), FileNotFoundError(2, 'No such file', 'a.txt')):
        assert errors.missing_dependency(error) is None
