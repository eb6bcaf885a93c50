"""Gets MediaPipe's model files from where MediaPipe publishes them.

python -m preprocessing.download_models --model_dir=M [--pose=lite|full|heavy]
"""

import http.client
import os
import urllib.request

from absl import flags

from preprocessing.extraction import landmarker as landmarker_lib
from slr_jax import cli, errors, files

# https://ai.google.dev/edge/mediapipe/solutions/vision/hand_landmarker and …/pose_landmarker
BASE_URL = 'https://storage.googleapis.com/mediapipe-models'
_TIMEOUT_SECONDS = 60


def address(name: str, base_url: str = BASE_URL) -> str:
    """Where a model file is published: `hand_landmarker.task`, `pose_landmarker_full.task`, …."""
    model = name.removesuffix('.task')
    task = '_'.join(model.split('_')[:2])
    return f'{base_url}/{task}/{model}/float16/1/{name}'


def download(model_dir: str, options: landmarker_lib.Options, base_url: str = BASE_URL) -> None:
    """Gets the model files that are not there yet; each is checked before it is put in place.

    Raises:
        InputError: there is no network, or what comes is no whole bundle.
    """
    for part, name in options.model_files.items():
        path, url = os.path.join(model_dir, name), address(name, base_url)
        if os.path.exists(path):
            landmarker_lib.check_bundle(path, landmarker_lib.read_file(path), part)
            print(f'{path}: there already, and whole')
            continue
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, 'reason', error)
            raise errors.InputError(
                f'{url} cannot be reached ({cause}): get it elsewhere and put it in {model_dir} as {name}'
            ) from error
        landmarker_lib.check_bundle(url, content, part)
        with files.replace_files_in(model_dir) as scratch, open(os.path.join(scratch, name), 'wb') as file:
            file.write(content)
        print(f'{path}: {len(content):,} bytes')


def _define_flags() -> None:
    flags.DEFINE_string('model_dir', None, 'Directory for the model files.', required=True)
    flags.DEFINE_enum('pose', 'full', list(landmarker_lib.POSE_MODELS), 'Which pose model; heavy is the published one.')


def main() -> None:
    """Gets the hand model and the pose model."""
    download(flags.FLAGS.model_dir, landmarker_lib.Options(pose=flags.FLAGS.pose))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
