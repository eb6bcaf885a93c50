"""The extraction as an Apache Beam pipeline: many machines, and any file system that Beam reads.

Clips are extracted and saved by the function of the local runner. Where the work is done, retries and time limits are
the Beam runner's.
"""

import argparse
from collections.abc import Iterator, Sequence
import contextlib
import io
import json
import os
import re
import shutil
import tempfile

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from preprocessing import clips as clips_lib
from preprocessing.extraction import clip_extractor, model_files, video_files
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import store as store_lib
from slr_jax import errors, files


def extract(
    clips: Sequence[clips_lib.Clip],
    videos: str,
    output: str,
    model_dir: str,
    options: landmarker_lib.Options,
    runner: str,
    beam_options: str,
    *,
    require_all: bool = False,
    tolerance: int = store_lib.DEFAULT_TOLERANCE,
) -> list[store_lib.Row]:
    """As `run_local.extract`, by the Beam runner of a name, whose options are given as on a command line.

    Raises:
        InputError: see `run_local.extract`; or an option has an illegal value or is unknown, or the runner failed.
    """
    pipeline_options = _parse(beam_options, runner)
    description = options.describe(model_files.read_models(model_dir, options.model_files, _BeamStore.read))
    if require_all:
        missing = [clip for clip in clips if not _exists(video_files.video_path(clip, videos, options.input))]
        store_lib.require_videos(clips, missing, videos)
    # Other file systems have no locks.
    with contextlib.nullcontext() if '://' in output else files.only_writer(output):
        unfinished = os.path.join(output, files.UNFINISHED)
        for directory in (output, unfinished):
            if not FileSystems.exists(directory):
                FileSystems.mkdirs(directory)
        try:
            store = _BeamStore.create_or_continue(output, description, tolerance)
            rows = _run(clips, _Extract(videos, model_dir, options, store), runner, pipeline_options, unfinished)
            report = [rows[clip.video_id] for clip in clips]
            store_lib.note_seldom_seen(report, options.parts)
            store.save_report(report)
        finally:
            FileSystems.delete([unfinished])
    return report


def _run(
    clips: Sequence[clips_lib.Clip], step: beam.DoFn, runner: str, options: PipelineOptions, scratch: str
) -> dict[str, store_lib.Row]:
    """Runs the pipeline; video_id -> row of the report."""
    prefix = os.path.join(scratch, 'rows')
    # The workers of this runner are processes of this machine.
    silence = landmarker_lib.silence() if runner == 'DirectRunner' else contextlib.nullcontext()
    try:
        with silence, beam.Pipeline(runner=runner, options=options) as pipeline:
            _ = (
                pipeline
                | beam.Create(clip_extractor.group_by_video(clips))
                | beam.Reshuffle()
                | beam.ParDo(step)
                | beam.Map(json.dumps)
                | beam.io.WriteToText(prefix, num_shards=1)
            )
        [match] = FileSystems.match([f'{prefix}*'])
        lines = b''.join(_BeamStore.read(found.path) or b'' for found in match.metadata_list).decode().splitlines()
    # Runners raise many kinds of errors.
    except (Exception, SystemExit) as error:
        raise errors.InputError(_error_sentence(runner, error)) from error
    return {row['video_id']: row for row in map(json.loads, lines)}


def _parse(beam_options: str, runner: str) -> PipelineOptions:
    """Parses the runner's options; InputError where one has an illegal value or is unknown."""
    words = beam_options.split()
    options = PipelineOptions(words)

    def check(parser: argparse.ArgumentParser) -> None:
        _, unknown = parser.parse_known_args(words)
        # The server that runs Flink's jobs has options of its own.
        if unknown and runner != 'FlinkRunner':
            raise errors.InputError(f'--beam_options={beam_options}: {unknown[0]} is no option of {runner}')

    with contextlib.redirect_stderr(io.StringIO()) as printed:
        try:
            options.get_all_options(add_extra_args_fn=check)
        except SystemExit:
            message = printed.getvalue().splitlines()[-1].split('error: ')[-1]
            raise errors.InputError(f'--beam_options={beam_options}: {message}') from None
    return options


def _error_sentence(runner: str, error: BaseException) -> str:
    """What a worker raised: the last line of the runner's error, which may be a whole traceback."""
    last = [line for line in str(error).splitlines() if line.strip()][-1:]
    sentence = re.sub(r" \[while running '.*'\]$", '', last[0]) if last else type(error).__name__
    name = f'{errors.InputError.__module__}.{errors.InputError.__name__}: '
    if isinstance(error, errors.InputError) or sentence.startswith(name):
        return sentence.removeprefix(name)
    return f'{runner} failed: {sentence}'


class _BeamStore(store_lib.LandmarkStore):
    """A directory of landmarks on any file system that Beam reads."""

    @staticmethod
    def read(path: str) -> bytes | None:
        if not FileSystems.exists(path):
            return None
        with FileSystems.open(path) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        temporary, path = os.path.join(self.path, files.UNFINISHED, name), os.path.join(self.path, name)
        try:
            with FileSystems.create(temporary) as file:
                file.write(content)
        except OSError as error:
            raise errors.InputError(f'{path}: {error.strerror or error}') from error
        FileSystems.rename([temporary], [path])


class _Extract(beam.DoFn):
    """Clips of one video -> their rows of the report."""

    def __init__(self, videos: str, model_dir: str, options: landmarker_lib.Options, store: _BeamStore) -> None:
        self._videos, self._model_dir, self._options, self._store = videos, model_dir, options, store

    def setup(self) -> None:
        models = model_files.read_models(self._model_dir, self._options.model_files, _BeamStore.read)
        self._extractor = clip_extractor.Extractor(self._options, models)

    def teardown(self) -> None:
        self._extractor.close()

    def process(self, clips: Sequence[clips_lib.Clip]) -> Iterator[store_lib.Row]:
        path = video_files.video_path(clips[0], self._videos, self._options.input)
        with tempfile.TemporaryDirectory() as scratch:
            yield from clip_extractor.extract_video(
                clips, self._store, self._extractor, lambda: _fetch(path, self._options.input, scratch)
            )


def _exists(path: str) -> bool:
    if FileSystems.exists(path):
        return True
    # Object stores have no folders, only files below a path.
    [match] = FileSystems.match([f'{path}/*'], limits=[1])
    return bool(match.metadata_list)


def _fetch(path: str, kind: str, scratch: str) -> str | None:
    """A path on this machine of a video or a folder of frames, None where it is missing."""
    if not _exists(path):
        return None
    if '://' not in path:
        return path
    local = os.path.join(scratch, os.path.basename(path))
    if kind == 'videos':
        _copy(path, local)
        return local
    os.mkdir(local)
    [match] = FileSystems.match([f'{path}/*'])
    for found in match.metadata_list:
        _copy(found.path, os.path.join(local, os.path.basename(found.path)))
    return local


def _copy(path: str, local: str) -> None:
    with FileSystems.open(path) as source, open(local, 'wb') as target:
        shutil.copyfileobj(source, target)
