"""Videos -> a dataset, in one command.

    python -m preprocessing.videos_to_dataset --videos=videos --name=signs --data_dir=data

Makes the clips table of the folders of videos (clips_from_folder) or takes one (--clips), downloads MediaPipe's models
where they are missing (download_models), extracts landmarks on all cores (extract_landmarks), and builds the dataset
(build_dataset). Interrupted and started again, it goes on where it was. Clips table and landmarks are kept in
data/signs_work, so that videos can be added later: only they are extracted then.
"""

from collections.abc import Sequence
import dataclasses
import os

from absl import flags

from preprocessing import clips as clips_lib
from preprocessing import clips_from_folder, download_models, plausibility, same_videos, splits
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import model_files
from preprocessing.extraction import store as store_lib
from preprocessing.formats import extracted, tfds_writer
from slr_jax import cli, errors, progress, split_copies
from slr_jax import dataset as dataset_lib
from slr_jax import landmarks as landmarks_lib

# In the working directory.
_LANDMARKS = 'landmarks'


def convert(
    clips: Sequence[clips_lib.Clip],
    videos: str,
    name: str,
    data_dir: str,
    work_dir: str,
    model_dir: str,
    *,
    options: landmarker_lib.Options,
    layout: str = landmarker_lib.LAYOUT.name,
    num_workers: int = 1,
    time_limit: float = 600.0,
    redraw: splits.Redraw | None = None,
    copies: str = 'leave_out',
) -> str:
    """Makes a dataset of videos; what an interrupted call has done is not done again.

    Args:
        clips: of the clips table.
        videos: directory of the videos.
        name: of the dataset.
        data_dir: directory of datasets.
        work_dir: directory for the clips table and the landmarks.
        model_dir: directory of MediaPipe's model files, which are downloaded where they are missing.
        options: how to extract.
        layout: of the dataset.
        num_workers: processes.
        time_limit: seconds per clip.
        redraw: draws the splits of the clips that have landmarks where others have none; None where they are given.
        copies: what is done about copies in other splits, one of split_copies.POLICIES.

    Returns:
        The directory of the dataset.

    Raises:
        InputError: no clip can be extracted, or another dataset of that name is there.
    """
    from preprocessing.extraction import run_local

    tfds_writer.check_name(name)
    table, landmarks = os.path.join(work_dir, 'clips.csv'), os.path.join(work_dir, _LANDMARKS)
    clips_lib.write_clips(table, clips, videos)
    progress.report(clips_lib.summary(table, clips))
    progress.report(f'2 of 4: models in {model_dir}')
    download_models.download(model_dir, options.model_files)
    progress.report(f'3 of 4: landmarks in {landmarks}')
    rows = run_local.extract(
        clips, videos, landmarks, model_dir, options, num_workers=num_workers, time_limit=time_limit
    )
    progress.report(store_lib.summary(rows))
    store_lib.require_done(rows, landmarks)
    path = os.path.join(data_dir, name)
    progress.report(f'4 of 4: dataset in {path}')
    dataset = extracted.read_dataset(clips, landmarks, name, landmarks_lib.LAYOUTS[layout], redraw=redraw)
    if redraw:
        drawn = {video_id: split for split, part in dataset.splits.items() for video_id in part.video_ids}
        clips = [dataclasses.replace(clip, split=drawn.get(clip.video_id, clip.split)) for clip in clips]
        clips_lib.write_clips(table, clips, videos)
    dataset = split_copies.check(plausibility.check(dataset), copies)
    version = os.path.join(path, tfds_writer.VERSION)
    if not os.path.exists(version):
        return tfds_writer.write_dataset(dataset, data_dir)
    if not _is_same(dataset, dataset_lib.load_dataset(version)):
        raise errors.InputError(f'{version} is of other clips or options; remove it, or give another --name')
    progress.report(f'{version}: exists, and is of these clips')
    return version


def _is_same(a: dataset_lib.Dataset, b: dataset_lib.Dataset) -> bool:
    what = [(each.layout, each.description.label_names, each.fingerprint()) for each in (a, b)]
    return what[0] == what[1]


def _define_flags() -> None:
    flags.DEFINE_string('videos', None, 'Directory of the videos.', required=True)
    flags.DEFINE_string('name', None, 'Name of the dataset: lower-case letters, digits and _.', required=True)
    flags.DEFINE_string('data_dir', None, 'Directory that datasets are written to.', required=True)
    flags.DEFINE_string(
        'clips', None, 'Clips table of the videos; default: made from their folders, as clips_from_folder does.'
    )
    flags.DEFINE_string(
        'work_dir',
        None,
        'Directory for the clips table and the landmarks, kept; default: <name>_work in the directory of datasets.',
    )
    flags.DEFINE_string(
        'model_dir', 'models', "Directory of MediaPipe's model files, which are downloaded where they are missing."
    )
    flags.DEFINE_enum(
        'dataset_layout', landmarker_lib.LAYOUT.name, list(extracted.LAYOUTS), 'Layout of the landmarks in the dataset.'
    )
    flags.DEFINE_enum(
        'running_mode',
        'video',
        list(landmarker_lib.RUNNING_MODES),
        'video: each clip tracked from its first frame, which is faster; image: each frame by itself, as published.',
    )
    flags.DEFINE_enum('pose', 'full', list(model_files.POSE_MODELS), 'Pose model.')
    flags.DEFINE_integer(
        'num_workers', os.cpu_count(), 'Number of worker processes; default: one per core.', lower_bound=1
    )
    flags.DEFINE_float('time_limit', 600.0, 'Most seconds per clip.', lower_bound=0.1)
    clips_from_folder.define_flags()
    flags.adopt_module_key_flags(clips_from_folder)


def main() -> None:
    """Makes the dataset that the flags name."""
    values = flags.FLAGS
    progress.report('1 of 4: clips')
    if values.clips:
        clips = clips_lib.keep_glosses(clips_lib.read_clips(values.clips), values.glosses, values.clips)
        equal = same_videos.find_equal(clips, values.videos)
        clips, lines = same_videos.check(clips, equal, values.videos, values.copies)
        redraw = None
    else:
        clips, lines = clips_from_folder.find(values)
        clips, line, redraw = splits.assign_by_flags(clips, values, values.videos)
        lines = [*lines, line]
    for line in lines:
        progress.report(line)
    work_dir = values.work_dir or os.path.join(values.data_dir, f'{values.name}_work')
    path = convert(
        clips,
        values.videos,
        values.name,
        values.data_dir,
        work_dir,
        values.model_dir,
        options=landmarker_lib.Options(running_mode=values.running_mode, pose=values.pose),
        layout=values.dataset_layout,
        num_workers=values.num_workers,
        time_limit=values.time_limit,
        redraw=redraw,
        copies=values.copies,
    )
    dataset = errors.quote(os.path.dirname(path))
    trains = f'--config=configs/own_videos.py --config.dataset={dataset} --workdir=runs/{values.name}'
    print(f'to train: python -m slr_jax.train {trains}')
    for line in store_lib.unseen_line(store_lib.read_report(os.path.join(work_dir, _LANDMARKS))):
        print(line)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
