"""The extraction as an Apache Beam pipeline: many machines, and any file system that Beam reads.

The per-clip function and the files are those of `extract_landmarks`. What runs where, retries and time limits are the
runner's.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from preprocessing import clips as clips_lib
from preprocessing.extraction import clip_extractor, worker_pool
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
) -> list[store_lib.Row]:
    """As `extract_landmarks.extract`, by a Beam runner.

    Args:
        clips: of the clips table.
        videos: directory of the videos, or of the folders of frames.
        output: directory of landmarks, new or begun with the same options.
        model_dir: directory of MediaPipe's model files.
        options: how to extract.
        runner: its name in Beam.
        beam_options: the runner's options, as on a command line.
        require_all: a missing video is an error, found before anything is extracted.

    Returns:
        The rows of the report, in the order of `clips`.

    Raises:
        InputError: as there, or the runner does not take its options.
    """
    pipeline_options = _parse(beam_options)
    description = options.describe(landmarker_lib.read_models(model_dir, options, _read))
    if require_all:
        missing = [clip for clip in clips if not _exists(clip, videos, options)]
        store_lib.check_none_missing(clips, missing, videos)
    _begin(output, description)
    step = _Extract(videos, output, model_dir, options, store_lib.fingerprint(description))
    prefix = os.path.join(output, store_lib.UNFINISHED, 'rows')
    try:
        with _quiet(runner), beam.Pipeline(runner=runner, options=pipeline_options) as pipeline:
            _ = (
                pipeline
                | beam.Create(clip_extractor.by_video(clips))
                | beam.Reshuffle()
                | beam.ParDo(step)
                | beam.Map(json.dumps)
                | beam.io.WriteToText(prefix, num_shards=1)
            )
        [match] = FileSystems.match([f'{prefix}*'])
        lines = b''.join(_read(found.path) for found in match.metadata_list).decode().splitlines()
        rows = {row['video_id']: row for row in map(json.loads, lines)}
        report = [rows[clip.video_id] for clip in clips]
        _write_by(os.path.join(output, store_lib.REPORT), lambda aside: files.write_csv(aside, report))
    # Runners raise many kinds of errors.
    except (Exception, SystemExit) as error:
        raise errors.InputError(_cause(runner, error)) from error
    finally:
        FileSystems.delete([os.path.join(output, store_lib.UNFINISHED)])
    return report


def _parse(beam_options: str) -> PipelineOptions:
    """Parses the runner's options; InputError where one has an illegal value."""
    options = PipelineOptions(beam_options.split())
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        try:
            options.get_all_options()
        except SystemExit:
            told = printed.getvalue().splitlines()[-1].split('error: ')[-1]
            raise errors.InputError(f'--beam_options={beam_options}: {told}') from None
    return options


@contextlib.contextmanager
def _quiet(runner: str) -> Iterator[None]:
    """Hides what Beam and MediaPipe log where the workers are processes of this machine."""
    if runner != 'DirectRunner':
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _cause(runner: str, error: BaseException) -> str:
    """What a worker raised: the last line of the runner's error, which may be a whole traceback."""
    last = [line for line in str(error).splitlines() if line.strip()][-1:]
    sentence = re.sub(r" \[while running '.*'\]$", '', last[0]) if last else type(error).__name__
    name = f'{errors.InputError.__module__}.{errors.InputError.__name__}: '
    if isinstance(error, errors.InputError) or sentence.startswith(name):
        return sentence.removeprefix(name)
    return f'{runner} stopped: {sentence}'


def _begin(output: str, description: dict[str, object]) -> None:
    path = os.path.join(output, store_lib.DESCRIPTION)
    description = {'format': store_lib.FORMAT, **description}
    begun = FileSystems.exists(path)
    if begun:
        store_lib.check_same_options(path, json.loads(_read(path)), description)
    for directory in (output, os.path.join(output, store_lib.UNFINISHED)):
        if not FileSystems.exists(directory):
            FileSystems.mkdirs(directory)
    if not begun:
        _write_by(path, lambda aside: files.write_json(aside, description))


def _write_by(path: str, write: Callable[[str], None]) -> None:
    """Writes a file anywhere by a function that writes one on this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        aside = os.path.join(scratch, os.path.basename(path))
        write(aside)
        _write(path, landmarker_lib.read_file(aside))


class _Extract(beam.DoFn):
    """Clips of one video -> the rows of their report; writes what was not there."""

    def __init__(
        self, videos: str, output: str, model_dir: str, options: landmarker_lib.Options, fingerprint: str
    ) -> None:
        self._videos, self._output, self._model_dir = videos, output, model_dir
        self._options, self._fingerprint = options, fingerprint

    def setup(self) -> None:
        models = landmarker_lib.read_models(self._model_dir, self._options, _read)
        self._extractor = clip_extractor.Extractor(self._options, models)

    def teardown(self) -> None:
        self._extractor.close()

    def process(self, clips: Sequence[clips_lib.Clip]) -> Iterator[store_lib.Row]:
        to_do = []
        for clip in clips:
            path = os.path.join(self._output, store_lib.clip_file(clip))
            if FileSystems.exists(path):
                found = store_lib.decode(path, _read(path))
                store_lib.check_same_clip(path, clip, found, self._fingerprint)
                yield store_lib.done_row(clip, found.landmarks)
            else:
                to_do.append(clip)
        if to_do and not _exists(to_do[0], self._videos, self._options):
            yield from map(store_lib.missing_row, to_do)
        elif to_do:
            with tempfile.TemporaryDirectory() as scratch:
                path = store_lib.path_of(to_do[0], self._videos, self._options.input)
                yield from self._extract(to_do, _fetch(path, self._options.input, scratch))

    def _extract(self, to_do: list[clips_lib.Clip], path: str) -> Iterator[store_lib.Row]:
        while to_do:
            try:
                for result in self._extractor.extract(tuple(to_do), path):
                    clip = to_do.pop(0)
                    if isinstance(result, worker_pool.Failure):
                        yield store_lib.failed_row(clip, result.reason)
                    else:
                        content = store_lib.encode(clip, result, self._fingerprint)
                        _write(os.path.join(self._output, store_lib.clip_file(clip)), content)
                        yield store_lib.done_row(clip, result)
            except (RuntimeError, ValueError) as error:
                yield store_lib.failed_row(to_do.pop(0), errors.one_line(error))


def _exists(clip: clips_lib.Clip, videos: str, options: landmarker_lib.Options) -> bool:
    path = store_lib.path_of(clip, videos, options.input)
    if options.input == 'videos':
        return FileSystems.exists(path)
    # Object stores have no folders, only files below a path.
    [match] = FileSystems.match([f'{path}/*'], limits=[1])
    return bool(match.metadata_list)


def _fetch(path: str, kind: str, scratch: str) -> str:
    """A path on this machine of a video or a folder of frames."""
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


def _read(path: str) -> bytes:
    if not FileSystems.exists(path):
        raise FileNotFoundError(path)
    with FileSystems.open(path) as file:
        return file.read()


def _write(path: str, content: bytes) -> None:
    aside = os.path.join(os.path.dirname(path), store_lib.UNFINISHED, os.path.basename(path))
    try:
        with FileSystems.create(aside) as file:
            file.write(content)
    except OSError as error:
        raise errors.InputError(f'{path}: {error.strerror or error}') from error
    FileSystems.rename([aside], [path])
