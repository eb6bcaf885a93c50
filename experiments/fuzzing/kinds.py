"""The kinds of files that the libraries of the project read, and how each is read."""

from collections.abc import Sequence
import os
import tempfile

from absl import flags

from experiments.fuzzing import sources
from experiments.fuzzing.trial import NAME, Kind, Source
from preprocessing import clips as clips_lib
from preprocessing import formats, plausibility
from preprocessing.formats import tfds_writer
from slr_jax import dataset as dataset_lib
from slr_jax import errors, files


def build_dataset(source: str, *options: str) -> None:
    """Reads a source and writes a dataset, as preprocessing.build_dataset does."""
    before = set(flags.FLAGS)
    try:
        flags.DEFINE_string('name', NAME, 'Name of the dataset.')
        plausibility.define_flags()
        formats.FORMATS[source].define_flags()
        flags.FLAGS(['build_dataset', *options])
        dataset = plausibility.check_with_flags(formats.FORMATS[source].read(flags.FLAGS), flags.FLAGS)
    finally:
        flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
    with tempfile.TemporaryDirectory() as scratch:
        tfds_writer.write_dataset(dataset, scratch)


def write_clips(clips: Sequence[clips_lib.Clip], path: str) -> None:
    """Writes clips that were read from `path` to a clips table."""
    with tempfile.TemporaryDirectory() as scratch:
        clips_lib.write_clips(os.path.join(scratch, 'clips.csv'), clips, path)


# --- Models


def read_module(path: str) -> None:
    """A checkpoint of PyTorch that says its number of heads."""
    from slr_jax import torch_models

    torch_models.load_pth(path)


def read_state_dict(path: str) -> None:
    """A checkpoint of PyTorch or of safetensors that does not."""
    from slr_jax import torch_models

    torch_models.load_pth(path, sources.NUM_HEADS)


def read_params(path: str) -> None:
    """Parameters of an export, as import_torch reads them."""
    from slr_jax import params_file, torch_models

    if params_file.is_params_file(path):
        params_file.read(path)
    else:
        torch_models.load_pth(path)


def read_workdir(path: str) -> None:
    """A workdir of a run or of several, as evaluation, reports, export and a resumed training read it."""
    from slr_jax import checkpoint, exporting, model_card, run_log
    from slr_jax import workdir as workdir_lib

    entries, _ = workdir_lib.leave_out_diverged(workdir_lib.read_index(path))
    for entry in entries or [workdir_lib.RunEntry('', {})]:
        run = workdir_lib.run_path(path, entry.name)
        workdir_lib.fingerprint(run)
        for row in run_log.read_rows(os.path.join(run, 'metrics.csv'), 1):
            run_log.describe(row)
        workdir_lib.create_or_check(run, sources.run_config(), sources.run_data(), sources.INIT)
        loaded = checkpoint.load_model(run)
        evaluations = exporting.read_evaluations(run, loaded.step)
        clips = files.read_json(os.path.join(run, 'dataset.json')).get('clips', {})
        versions = files.read_json(os.path.join(run, 'environment.json'))
        model_card.make(loaded, evaluations, clips, versions)


def read_export(path: str) -> None:
    """An exported model."""
    from slr_jax import exported

    try:
        exported.load(path)
    # What the loader has instead, since it imports nothing of slr_jax.
    except exported.ExportError as error:
        raise errors.InputError(str(error)) from error


# --- Datasets and landmarks


def read_tfds(path: str) -> None:
    """A TFDS directory."""
    dataset_lib.load_dataset(path)


def read_npz(path: str) -> None:
    """A landmark archive."""
    build_dataset('npz', f'--input={path}')


def read_mp_data(path: str) -> None:
    """A folder of arrays."""
    build_dataset('mp_data', f'--input={path}')


def read_pose(path: str) -> None:
    """A folder of .pose files."""
    build_dataset('pose', f'--input={path}', f'--clips={path}/clips.csv')


def read_openpose(path: str) -> None:
    """A folder of OpenPose's JSON files."""
    build_dataset('openpose', f'--input={path}', '--frame_size=640x480')


def read_asl_signs(path: str) -> None:
    """Kaggle's folder of parquet files."""
    build_dataset('asl_signs', f'--input={path}')


def read_hand_csv(path: str) -> None:
    """A SPOTER-format file of one hand."""
    build_dataset('spoter_csv', f'--train={path}', '--layout=mediapipe_hand')


def read_vision_csv(path: str) -> None:
    """A SPOTER-format file of the layout that SPOTER has."""
    build_dataset('spoter_csv', f'--train={path}', '--layout=vision_api')


def _read_landmarks(path: str, layout: str) -> None:
    clips = os.path.join(os.path.dirname(path), 'clips.csv')
    build_dataset('landmarks', f'--landmarks={path}', f'--clips={clips}', f'--layout={layout}')


def read_landmarks(path: str) -> None:
    """A directory of landmarks."""
    _read_landmarks(path, 'mediapipe_hands_pose')


def read_compact(path: str) -> None:
    """IPN Hand's compact file."""
    _read_landmarks(path, 'mediapipe_hand')


# --- Tables and annotations


def read_clips(path: str) -> None:
    """A clips table."""
    write_clips(clips_lib.read_clips(path), path)


def read_glosses(path: str) -> None:
    """A list of glosses."""
    files.read_label_names(path)


def read_weights(path: str) -> None:
    """Published weights of a mask."""
    from slr_jax import masks

    masks.read_mask_csv(path)


# --- Pictures and MediaPipe


def read_video(path: str) -> None:
    """A video, or a folder of frames."""
    from preprocessing.extraction import video

    try:
        for _ in video.read_frames(path, lambda number: True, None):
            pass
    # The reason in a report, beside the name of the video.
    except video.VideoError as error:
        raise errors.InputError(f'{path}: {error}') from error


def read_task(path: str) -> None:
    """A model file of MediaPipe, as it is checked."""
    from preprocessing.extraction import model_files

    part = 'hands' if os.path.basename(path).startswith('hand') else 'pose'
    model_files.read_models(os.path.dirname(path), {part: os.path.basename(path)})


def read_task_in_worker(path: str) -> None:
    """A model file of MediaPipe, as MediaPipe reads it in a worker process."""
    from preprocessing.extraction import landmarker, run_local

    part = 'hands' if os.path.basename(path).startswith('hand') else 'pose'
    videos = os.path.join(os.path.dirname(path), 'frames')
    clips = [clips_lib.Clip('a', 'a', 0, '', '')]
    options = landmarker.Options(parts=(part,), input='frames')
    for _, result in run_local.extract_in_memory(clips, videos, os.path.dirname(path), options):
        if not hasattr(result, 'landmarks'):
            raise errors.InputError(f'{path}: {result.reason}')


_ALL = (
    Kind(
        'torch',
        sources.write_torch,
        (
            Source('module.pth', read_module),
            Source('state_dict.pth', read_state_dict),
            Source('legacy_module.pth', read_module),
            Source('legacy_state_dict.pth', read_state_dict),
            Source('hostile.pth', read_state_dict, is_refused=True),
            Source('hostile_legacy.pth', read_state_dict, is_refused=True),
        ),
    ),
    Kind(
        'safetensors',
        sources.write_safetensors,
        (Source('state.safetensors', read_state_dict), Source('params.safetensors', read_params)),
    ),
    Kind(
        'npz',
        sources.write_npz,
        (
            Source('plain.npz', read_npz),
            Source('packed.npz', read_npz),
            Source('objects.npz', read_npz),
            Source('hostile.npz', read_npz, is_refused=True),
        ),
    ),
    Kind(
        'npy',
        sources.write_mp_data,
        (
            Source('frames', read_mp_data),
            Source('clips', read_mp_data),
            Source('hostile', read_mp_data, is_refused=True),
        ),
    ),
    Kind(
        'spoter_csv',
        sources.write_spoter_csv,
        (Source('mediapipe_hand.csv', read_hand_csv), Source('vision_api.csv', read_vision_csv)),
    ),
    Kind(
        'landmarks',
        sources.write_landmarks,
        (
            Source('extracted', read_landmarks, ('.npz', '.json')),
            Source('published', read_landmarks),
            Source('compact.csv', read_compact),
        ),
    ),
    Kind(
        'pose', sources.write_pose, (Source(sources.HAND.name, read_pose), Source(sources.HANDS_POSE.name, read_pose))
    ),
    Kind('openpose', sources.write_openpose, (Source('clips', read_openpose),)),
    Kind('parquet', sources.write_asl_signs, (Source('signs', read_asl_signs),)),
    Kind('tfds', sources.write_tfds, (Source('tiny', read_tfds),)),
    Kind(
        'tables',
        sources.write_tables,
        (Source('clips.csv', read_clips), Source('glosses.txt', read_glosses), Source('mask.csv', read_weights)),
    ),
    Kind(
        'workdir',
        sources.write_workdir,
        (Source('run', read_workdir, ('.json', '.csv')), Source('run', read_workdir), Source('several', read_workdir)),
    ),
    Kind('export', sources.write_export, (Source('export', read_export, ('model.json', 'jax_export')),)),
    Kind(
        'video',
        sources.write_videos,
        tuple(
            Source(name, read_video) for name in ('xvid.avi', 'mjpg.avi', 'mp4v.mp4', 'vp8.webm', 'jpg', 'png', 'bmp')
        ),
    ),
    Kind(
        'task',
        sources.write_task,
        (Source('hand_landmarker.task', read_task), Source('pose_landmarker_full.task', read_task)),
    ),
    # Few, since each starts a worker, which takes seconds.
    Kind(
        'mediapipe',
        sources.write_task,
        (
            Source('hand_landmarker.task', read_task_in_worker, is_refused=True),
            Source('pose_landmarker_full.task', read_task_in_worker, is_refused=True),
        ),
        count=8,
    ),
)
KINDS = {kind.name: kind for kind in _ALL}
