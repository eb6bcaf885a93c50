"""Which modules can be imported without the extras."""

import subprocess
import sys

from tests.conftest import ROOT

# What these need comes with the extras preprocessing and beam.
WITH_EXTRAS = {'beam_pipeline', 'extract_frames', 'extract_landmarks', 'extractor', 'inspect', 'video'}


def test_most_modules_need_no_extras():
    modules = sorted({path.stem for path in (ROOT / 'preprocessing').glob('*.py')} - WITH_EXTRAS - {'__init__'})
    assert {'build_dataset', 'clips', 'extraction', 'landmark_files', 'landmarker', 'wlasl', 'workers'} <= set(modules)
    # Where cv2 is installed, TFDS imports it.
    code = (
        'import sys; sys.modules.update(cv2=None, mediapipe=None, apache_beam=None);'
        f'from preprocessing import {", ".join(modules)};'
        'print([name for name in ("jax", "flax", "tensorflow", "torch") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '[]\n', '')
