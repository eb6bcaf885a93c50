"""Model files that are missing or not whole."""

import io
import zipfile

import pytest

from preprocessing.extraction import landmarker, model_files
from slr_jax import errors

HANDS = ('hand_detector.tflite', 'hand_landmarks_detector.tflite')


def make_bundle(*names, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', method) as bundle:
        for name in names:
            bundle.writestr(name, f'the network {name} ' * 40)
    return buffer.getvalue()


def spoil(content, place, length=4):
    return content[:place] + bytes(255 - byte for byte in content[place : place + length]) + content[place + length :]


GOOD = make_bundle(*HANDS)
POSE = make_bundle('pose_detector.tflite', 'pose_landmarks_detector.tflite')
PACKED = make_bundle(*HANDS, method=zipfile.ZIP_DEFLATED)
HTML = b'<!DOCTYPE html>\n<html><head><title>404</title></head></html>'


@pytest.mark.parametrize('content', [GOOD, PACKED, make_bundle('more.txt', *HANDS)])
def test_a_whole_bundle_is_taken(content):
    model_files.check_bundle('m.task', content, 'hands')


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (b'', "m.task is not a whole model bundle: it has 0 bytes and begins with ''; get it again"),
        (
            HTML,
            'm.task is not a whole model bundle: it has 60 bytes and begins with '
            "'<!DOCTYPE html>\\n<html><head><t'; get it again",
        ),
        (make_bundle(HANDS[0]), f'm.task is not a whole model bundle for hands: it has no {HANDS[1]}; get it again'),
        (POSE, f'm.task is not a whole model bundle for hands: it has no {HANDS[0]}; get it again'),
        (
            spoil(GOOD, GOOD.index(b'the network hand_landmarks')),
            f'm.task is not a whole model bundle for hands: {HANDS[1]} is damaged; get it again',
        ),
    ],
    ids=['empty', 'html', 'one network', 'pose', 'checksum'],
)
def test_a_bundle_that_is_not_whole_is_refused(content, sentence):
    with pytest.raises(errors.InputError) as error:
        model_files.check_bundle('m.task', content, 'hands')
    assert str(error.value) == sentence


@pytest.mark.parametrize('content', [GOOD, PACKED], ids=['stored', 'packed'])
def test_a_bundle_that_is_cut_or_damaged_anywhere_is_refused(content):
    for length in range(len(content)):
        with pytest.raises(errors.InputError, match=rf'^m.task is not a whole .* {length:,} bytes .* get it again$'):
            model_files.check_bundle('m.task', content[:length], 'hands')
    # Not all bytes of a zip matter, but those of its networks do.
    start = content.index(HANDS[0].encode()) + len(HANDS[0])
    for place in range(start, content.index(b'PK\3\4', 4) - 4, 3):
        with pytest.raises(errors.InputError, match=r'^m.task is not a whole model bundle.* get it again$'):
            model_files.check_bundle('m.task', spoil(content, place), 'hands')


def test_a_missing_model_file_is_refused_with_the_command_to_get_it(tmp_path):
    options = landmarker.Options(pose='heavy')
    for part, name, ending in (
        ('hands', 'hand_landmarker.task', ''),
        ('pose', 'pose_landmarker_heavy.task', ' --pose=heavy'),
    ):
        with pytest.raises(errors.InputError) as error:
            model_files.read_models(str(tmp_path), options.model_files)
        command = f'python -m preprocessing.download_models --model_dir={tmp_path}{ending}'
        assert str(error.value) == f'{tmp_path}/{name} is missing: {command} gets it'
        (tmp_path / name).write_bytes(GOOD if part == 'hands' else POSE)
    assert model_files.read_models(str(tmp_path), options.model_files) == {'hands': GOOD, 'pose': POSE}
    assert model_files.read_models(str(tmp_path), {'pose': options.model_files['pose']}) == {'pose': POSE}
    (tmp_path / 'pose_landmarker_heavy.task').write_bytes(POSE[:-9])
    with pytest.raises(errors.InputError, match=r'pose_landmarker_heavy.task is not a whole model bundle'):
        model_files.read_models(str(tmp_path), options.model_files)


def test_the_shared_models_are_whole(shared):
    models = model_files.read_models(str(shared / 'models'), landmarker.Options().model_files)
    assert list(models) == ['hands', 'pose']
