"""Downloads MediaPipe's model files from where MediaPipe publishes them.

python -m preprocessing.download_models --model_dir=M [--pose=lite|full|heavy]
"""

from collections.abc import Mapping
import http.client
import os
import urllib.request

from absl import flags

from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import model_files
from slr_jax import cli, errors, files

# https://ai.google.dev/edge/mediapipe/solutions/vision/hand_landmarker and …/pose_landmarker
BASE_URL = 'https://storage.googleapis.com/mediapipe-models'
_TIMEOUT_SECONDS = 60


def model_url(name: str, base_url: str = BASE_URL) -> str:
    """Where a model file is published: `hand_landmarker.task`, `pose_landmarker_full.task`, …."""
    model = name.removesuffix('.task')
    task = '_'.join(model.split('_')[:2])
    return f'{base_url}/{task}/{model}/float16/1/{name}'


def download(model_dir: str, names: Mapping[str, str], base_url: str = BASE_URL) -> None:
    """Downloads the model files that are missing; each is checked before it is put in place.

    Args:
        model_dir: directory for them.
        names: part -> name of its file.
        base_url: where they are published.

    Raises:
        InputError: there is no network, or what comes is not a whole bundle.
    """
    for part, name in names.items():
        path, url = os.path.join(model_dir, name), model_url(name, base_url)
        content = files.read_bytes(path)
        if content is not None:
            model_files.check_bundle(path, content, part)
            print(f'{path}: exists, and is whole')
            continue
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
                content = response.read()
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, 'reason', error)
            raise errors.InputError(
                f'{url} cannot be reached ({cause}): get it elsewhere and put it in {model_dir} as {name}'
            ) from error
        model_files.check_bundle(url, content, part)
        with files.replace_files_in(model_dir) as scratch, open(os.path.join(scratch, name), 'wb') as file:
            file.write(content)
        print(f'{path}: {len(content):,} bytes')


def _define_flags() -> None:
    flags.DEFINE_string('model_dir', None, 'Directory for the model files.', required=True)
    flags.DEFINE_enum(
        'pose', 'full', list(model_files.POSE_MODELS), 'Pose model; the published landmarks are of heavy.'
    )


def main() -> None:
    """Downloads the hand model and the pose model."""
    download(flags.FLAGS.model_dir, landmarker_lib.Options(pose=flags.FLAGS.pose).model_files)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
