"""MediaPipe's model files: their names, reading and checking them."""

from collections.abc import Callable, Mapping
import io
import os
import zipfile

from slr_jax import errors, file_limits, files

POSE_MODELS = ('lite', 'full', 'heavy')
# What a bundle must hold: a model file is a zip of networks.
BUNDLE_MEMBERS = {
    'hands': ('hand_detector.tflite', 'hand_landmarks_detector.tflite'),
    'pose': ('pose_detector.tflite', 'pose_landmarks_detector.tflite'),
}


def model_name(part: str, pose: str) -> str:
    """Name of the model file of `hands` or `pose`."""
    return 'hand_landmarker.task' if part == 'hands' else f'pose_landmarker_{pose}.task'


def check_bundle(path: str, content: bytes, part: str) -> None:
    """Raises InputError where a model file is not a whole bundle for that part."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            file_limits.check_zip(path, bundle, len(content))
            damaged = bundle.testzip()
            names = bundle.namelist()
    except errors.InputError:
        raise
    # Damaged zips raise many kinds of errors.
    except Exception:
        start = content[:30].decode('latin-1').strip()
        raise errors.InputError(
            f'{path} is not a whole model bundle: it has {len(content):,} bytes and begins with {start!r}; get it again'
        ) from None
    missing = [name for name in BUNDLE_MEMBERS[part] if name not in names]
    if damaged or missing:
        problem = f'{damaged} is damaged' if damaged else f'it has no {missing[0]}'
        raise errors.InputError(f'{path} is not a whole model bundle for {part}: {problem}; get it again')


def read_models(
    model_dir: str, names: Mapping[str, str], read: Callable[[str], bytes | None] = files.read_bytes
) -> dict[str, bytes]:
    """Reads and checks model files.

    Args:
        model_dir: their directory.
        names: part -> name of its file, as in Options.model_files.
        read: path -> content, None where there is no file.

    Raises:
        InputError: a file is missing or not whole.
    """
    models = {}
    for part, name in names.items():
        path = os.path.join(model_dir, name)
        content = read(path)
        if content is None:
            pose = f' --pose={name.removesuffix(".task").split("_")[-1]}' if part == 'pose' else ''
            raise errors.InputError(
                f'{path} is missing: python -m preprocessing.download_models '
                f'--model_dir={errors.quote(model_dir)}{pose} gets it'
            )
        check_bundle(path, content, part)
        models[part] = content
    return models
