"""Archives that build_dataset refuses."""

import pytest

NPZ = 'preprocessing.build_dataset --name=bad --data_dir={out} --source=npz --input={w}/npz/'

CASES = {
    'no such file': (NPZ + 'nowhere.npz', 'npz/nowhere.npz', 'No such file'),
    'directory': (NPZ + '../other_directory', 'other_directory', '.npz'),
    'empty file': (NPZ + 'empty.npz', 'npz/empty.npz', 'archive'),
    'noise': (NPZ + 'noise.npz', 'npz/noise.npz', 'archive'),
    'cut in the middle': (NPZ + 'cut.npz', 'npz/cut.npz', 'archive'),
    'one array': (NPZ + 'array.npz', 'npz/array.npz', 'archive'),
    'pickled objects': (NPZ + 'pickled.npz', 'npz/pickled.npz', 'label_names', 'plain arrays', 'None'),
    'hostile pickle': (NPZ + 'hostile.npz', 'npz/hostile.npz', 'label_names', 'plain arrays', 'mkdir'),
    'photos': (NPZ + 'photos.zip', 'npz/photos.zip', 'zip of 2 files', 'holiday/1.jpg', '.npz archive'),
    'video': (NPZ + 'video.npz', 'npz/video.npz', 'a video', '.npz archive'),
    'no labels': (NPZ + 'without_label.npz', 'npz/without_label.npz', "'label'", 'label_names'),
    'no layout': (NPZ + 'without_layout.npz', 'npz/without_layout.npz', "'layout'", 'label_names'),
    # Labels
    'label too high': (NPZ + 'label_high.npz', 'label_high.npz', 'train_00001', 'label 3', '0', '2'),
    'negative label': (NPZ + 'label_negative.npz', 'label_negative.npz', 'train_00001', 'label -1', '0', '2'),
    'label beyond 32 bits': (NPZ + 'label_wraps.npz', 'label_wraps.npz', 'train_00000', '4294967298', '0', '2'),
    'labels are text': (NPZ + 'label_text.npz', 'label_text.npz', 'label', '<U5', 'integers'),
    'labels are not whole': (NPZ + 'label_float.npz', 'label_float.npz', 'label', 'float64', 'integers'),
    'a label too few': (NPZ + 'label_short.npz', 'label_short.npz', 'label', '(20,)', '21'),
    # Clips
    'a video_id too few': (NPZ + 'names_short.npz', 'names_short.npz', 'video_id', '(20,)', '21'),
    'the same video_id for all': (NPZ + 'names_twice.npz', 'bad', 'train', 'video_id', 'clip'),
    'clips of NaN': (NPZ + 'all_nan.npz', 'bad', '21', 'train_00000', 'nothing seen'),
    'clips of NaN in train': (NPZ + 'train_nan.npz', 'bad', 'train'),
    'clip in pixels': (NPZ + 'pixels.npz', 'bad', '1 of 21', 'train_00001', '--frame_size'),
    'clip in pixels of another size': (
        NPZ + 'pixels.npz --frame_size=64x48',
        *('bad', '1 of 21', 'train_00001', '--frame_size', '(64, 48)'),
    ),
    'frame size of one number': (NPZ + 'pixels.npz --frame_size=640', '--frame_size', "'640'", '1920x1080'),
    'infinite coordinate': (NPZ + 'infinite.npz', 'bad', 'train', 'train_00001', 'infinite'),
    'no clips': (NPZ + 'no_clips.npz', 'no_clips.npz', 'offsets', '0', '544'),
    'an offset too few': (NPZ + 'offsets_short.npz', 'offsets_short.npz', 'offsets', '0', '544'),
    'frames of text': (NPZ + 'frames_text.npz', 'frames_text.npz', 'frames', 'float32[frames, points, 3]'),
    'a point too few': (NPZ + 'frames_points.npz', 'bad', 'train', 'train_00000', '(23, 20, 3)', '(frames, 21, 3)'),
    'unknown split': (NPZ + 'split_other.npz', 'split_other.npz', 'split', "'extra'", 'train', 'validation', 'test'),
    # Description
    'unknown layout': (NPZ + 'layout_other.npz', 'layout', "'mediapipe_foot'", 'mediapipe_hand', 'vision_api'),
    'two layouts': (NPZ + 'layout_list.npz', 'layout', "['mediapipe_hand' 'vision_api']", 'mediapipe_two_hands'),
    'unknown handedness': (NPZ + 'handedness_other.npz', 'handedness', "'mirrored'", 'signer', 'swapped'),
    'source not in JSON': (NPZ + 'source_text.npz', 'source_text.npz', 'source', 'JSON'),
    'two classes of one gloss': (NPZ + 'glosses_twice.npz', 'bad', '0', '2', "'yes'"),
    'empty gloss': (NPZ + 'gloss_empty.npz', 'bad', 'class 1', "''"),
    'glosses not in a list': (NPZ + 'glosses_scalar.npz', 'glosses_scalar.npz', 'label_names', 'list'),
    'informative point outside the layout': (NPZ + 'informative_outside.npz', 'informative_points', '(0, 21)', '0'),
    'informative points by name': (NPZ + 'informative_text.npz', 'informative_text.npz', 'informative_points', 'list'),
}


@pytest.mark.usefixtures('archives')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('archives')
@pytest.mark.parametrize('name', ['good.npz', 'nan.npz', 'no_frames.npz', 'pixels.npz --frame_size=640x480'])
def test_good_archive_is_taken(accept, name):
    accept(NPZ + name)
