"""What the modules of preprocessing import, those of its packages included."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

# What these need comes with the extras preprocessing and beam.
WITH_EXTRAS = {
    'preprocessing.extract_frames',
    'preprocessing.extract_landmarks',
    'preprocessing.extraction.clip_extractor',
    'preprocessing.extraction.run_beam',
    'preprocessing.extraction.run_local',
    'preprocessing.extraction.video',
    'preprocessing.inspect',
}


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
        'import sys; sys.modules.update(av=None, cv2=None, mediapipe=None, apache_beam=None);'
        f'import {", ".join(sorted(modules))};'
        'print([name for name in ("jax", "flax", "tensorflow", "torch") if name in sys.modules])'
    )
    assert run(code) == '[]\n'
