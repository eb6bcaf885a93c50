"""A directory of extracted landmarks, and the function that makes one clip of it.

extraction.json (how they were made), one <video_id>.npz a clip, and report.csv. A clip's file holds
landmarks <float32>[frames, 75, 3] in the layout mediapipe_hands_pose, NaN where not seen; video (its `file`),
frame_start and frame_end as in the clips table; and extraction, the fingerprint of extraction.json.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import shutil
from typing import Any
import zipfile

import numpy as np

from preprocessing import clips as clips_lib
from preprocessing import landmarker as landmarker_lib
from preprocessing import video, workers
from slr_jax import errors, files

FORMAT = 'slr_jax extraction 1'
DESCRIPTION = 'extraction.json'
REPORT = 'report.csv'
_UNFINISHED = '.unfinished'
_GROUPS = ('right_hand', 'left_hand', 'body')
_DEFAULT_FPS = 30.0

Row = dict[str, Any]


# --- One clip


class Extractor:
    """Landmarks of clips; one in each process."""

    def __init__(self, options: landmarker_lib.Options, models: Mapping[str, bytes]) -> None:
        self._options, self._models = options, models
        # In video mode every clip has its own, so that tracking cannot leak from one into the next.
        self._shared = landmarker_lib.Landmarker(options, models) if options.running_mode == 'image' else None

    def extract(self, clips: Sequence[clips_lib.Clip], path: str) -> Iterator[np.ndarray | workers.Failure]:
        """Extracts clips of one video, which is read once, forward.

        Args:
            clips: in the order of `by_video`.
            path: the video, or its folder of frames.

        Yields:
            For each clip, in their order, <float32>[frames, 75, 3] or why there are none.
        """
        waiting = deque(clips)
        running: dict[str, _RunningClip] = {}
        to_the_end = clips[-1].frame_end == clips_lib.TO_THE_END
        number = 0
        try:
            fps = video.frames_per_second(path)
            frames = video.read_frames(
                path,
                wanted=lambda number: any(_holds(clip, number) for clip in waiting),
                last=None if to_the_end else clips[-1].frame_end,
            )
            for number, frame in frames:
                for clip in waiting:
                    if _holds(clip, number):
                        if clip.video_id not in running:
                            running[clip.video_id] = _RunningClip(self._landmarker(), fps or clip.fps or _DEFAULT_FPS)
                        running[clip.video_id].add(frame)
                while waiting and waiting[0].frame_end == number:
                    yield self._finish(running.pop(waiting.popleft().video_id))
            for clip in waiting:
                if clip.frame_end == clips_lib.TO_THE_END and clip.video_id in running:
                    yield self._finish(running.pop(clip.video_id))
                else:
                    yield workers.Failure(f'{_segment(clip)}, the video ends before')
        except video.VideoError as error:
            for _ in waiting:
                yield workers.Failure(str(error))
        finally:
            for clip in running.values():
                self._finish(clip)

    def _landmarker(self) -> landmarker_lib.Landmarker:
        return self._shared or landmarker_lib.Landmarker(self._options, self._models)

    def _finish(self, clip: '_RunningClip') -> np.ndarray:
        if clip.landmarker is not self._shared:
            clip.landmarker.close()
        return np.stack(clip.frames)


def _holds(clip: clips_lib.Clip, number: int) -> bool:
    return clip.frame_start <= number and (clip.frame_end == clips_lib.TO_THE_END or number <= clip.frame_end)


def _segment(clip: clips_lib.Clip) -> str:
    end = '' if clip.frame_end == clips_lib.TO_THE_END else f' and ends at {clip.frame_end}'
    return f'the clip starts at frame {clip.frame_start}{end}'


class _RunningClip:
    def __init__(self, landmarker: landmarker_lib.Landmarker, fps: float) -> None:
        self.landmarker, self.frames, self._fps = landmarker, [], fps

    def add(self, frame: np.ndarray) -> None:
        milliseconds = round(len(self.frames) * 1000 / self._fps)
        self.frames.append(self.landmarker.detect(frame, milliseconds))


def by_video(clips: Sequence[clips_lib.Clip]) -> list[tuple[clips_lib.Clip, ...]]:
    """Groups clips by their video, those that end first in front."""
    groups: dict[str, list[clips_lib.Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.file, []).append(clip)
    return [tuple(sorted(group, key=_end)) for group in groups.values()]


def _end(clip: clips_lib.Clip) -> float:
    return float('inf') if clip.frame_end == clips_lib.TO_THE_END else clip.frame_end


# --- The files


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What a clip's file holds; see the top of this file."""

    landmarks: np.ndarray
    video: str
    frame_start: int
    frame_end: int
    extraction: str


def fingerprint(description: Mapping[str, Any]) -> str:
    """A hash of what extraction.json says."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def encode(clip: clips_lib.Clip, landmarks: np.ndarray, extraction: str) -> bytes:
    """The bytes of a clip's file; the same for the same content."""
    buffer = io.BytesIO()
    extracted = Extracted(landmarks, clip.file, clip.frame_start, clip.frame_end, extraction)
    np.savez_compressed(buffer, **{key: np.array(value) for key, value in vars(extracted).items()})
    return buffer.getvalue()


def decode(path: str, content: bytes) -> Extracted:
    """Reads a clip's file; InputError, naming `path`, where it is damaged or another."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            fields = {field.name: archive[field.name] for field in dataclasses.fields(Extracted)}
        landmarks = fields.pop('landmarks')
        if landmarks.dtype != np.float32 or landmarks.shape[1:] != (landmarker_lib.LAYOUT.num_points, 3):
            raise ValueError(landmarks.shape)
        return Extracted(landmarks, **{key: value.item() for key, value in fields.items()})
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise errors.InputError(f'{path} is damaged or holds no extracted landmarks; remove it') from error


def check_same_clip(path: str, clip: clips_lib.Clip, found: Extracted, extraction: str) -> None:
    """Raises InputError where a file is of another clip or of another extraction."""
    if found.extraction != extraction:
        raise errors.InputError(
            f'{path} was extracted with other options than {DESCRIPTION} beside it says; one directory holds one kind'
        )
    if (found.video, found.frame_start, found.frame_end) != (clip.file, clip.frame_start, clip.frame_end):
        raise errors.InputError(
            f'{path} holds frames {found.frame_start} to {found.frame_end} of {found.video}, the clips table says '
            f'{clip.frame_start} to {clip.frame_end} of {clip.file}; remove the file or take another directory'
        )


def check_same_options(path: str, found: Mapping[str, Any], description: Mapping[str, Any]) -> None:
    """Raises InputError where a directory was extracted with other options."""
    for name in dict.fromkeys((*description, *found)):
        if found.get(name) != description.get(name):
            raise errors.InputError(
                f'{path} says {name} = {found.get(name)!r}, this run has {description.get(name)!r}; one directory '
                'holds one kind, take another'
            )


def read_description(directory: str) -> dict[str, Any]:
    """What extraction.json says; InputError where there is none."""
    path = os.path.join(directory, DESCRIPTION)
    if not os.path.isfile(path):
        raise errors.InputError(f'{directory} has no {DESCRIPTION}, expected a directory of extract_landmarks')
    description = files.read_json(path)
    if description.pop('format', None) != FORMAT:
        raise errors.InputError(f'{path} is of another kind, expected format {FORMAT!r}')
    return description


class Directory:
    """A directory of landmarks that one run at a time writes to."""

    def __init__(self, path: str, description: Mapping[str, Any]) -> None:
        self.path, self.extraction = path, fingerprint(description)

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str, description: Mapping[str, Any]) -> Iterator['Directory']:
        """Makes the directory, or goes on with one of the same description.

        Raises:
            InputError: it holds other things or another description, or another run writes to it.
        """
        files.make_directories(path)
        names = [name for name in os.listdir(path) if not name.startswith('.')]
        if names and DESCRIPTION not in names:
            raise errors.InputError(f'{path} holds {names[0]!r} and no {DESCRIPTION}, expected a new directory')
        handle = os.open(path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise errors.InputError(f'another run writes to {path}; wait for it or stop it') from None
            if names:
                check_same_options(os.path.join(path, DESCRIPTION), read_description(path), description)
            else:
                files.write_json(os.path.join(path, DESCRIPTION), {'format': FORMAT, **description})
            unfinished = os.path.join(path, _UNFINISHED)
            shutil.rmtree(unfinished, ignore_errors=True)
            os.mkdir(unfinished)
            try:
                yield cls(path, description)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        finally:
            os.close(handle)

    def load(self, clip: clips_lib.Clip) -> np.ndarray | None:
        """Reads a clip that was extracted before; None where it was not."""
        return load_clip(self.path, clip, self.extraction)

    def save(self, clip: clips_lib.Clip, landmarks: np.ndarray) -> None:
        """Writes a clip, whole or not at all, also where the machine dies."""
        name = clip_file(clip)
        aside = os.path.join(self.path, _UNFINISHED, name)
        with open(aside, 'wb') as file:
            file.write(encode(clip, landmarks, self.extraction))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, os.path.join(self.path, name))


def clip_file(clip: clips_lib.Clip) -> str:
    """Name of a clip's file."""
    return f'{clip.video_id}.npz'


def load_clip(directory: str, clip: clips_lib.Clip, extraction: str) -> np.ndarray | None:
    """Reads a clip's landmarks; None where there is no file.

    Raises:
        InputError: the file is damaged, or of another clip or extraction.
    """
    path = os.path.join(directory, clip_file(clip))
    if not os.path.exists(path):
        return None
    with open(path, 'rb') as file:
        found = decode(path, file.read())
    check_same_clip(path, clip, found, extraction)
    return found.landmarks


# --- The report


def done_row(clip: clips_lib.Clip, landmarks: np.ndarray) -> Row:
    """A row of the report: frames, and the share of them with each hand and the body."""
    seen = ~np.isnan(landmarks[..., 0])
    groups = landmarker_lib.LAYOUT.groups
    shares = {group: round(float(seen[:, groups[group]].any(axis=1).mean()), 4) for group in _GROUPS}
    return {**_row(clip, 'done', ''), 'frames': len(landmarks), **shares}


def failed_row(clip: clips_lib.Clip, reason: str, status: str = 'failed') -> Row:
    """A row of the report for a clip without landmarks."""
    return {**_row(clip, status, reason), 'frames': 0, **dict.fromkeys(_GROUPS, '')}


def _row(clip: clips_lib.Clip, status: str, reason: str) -> Row:
    return {'video_id': clip.video_id, 'file': clip.file, 'status': status, 'reason': reason}


def summary(rows: Sequence[Row]) -> str:
    """Clips done, failed and why, frames, and the shares of frames with each hand and the body."""
    by_status = Counter(row['status'] for row in rows)
    done = [row for row in rows if row['status'] == 'done']
    frames = sum(row['frames'] for row in done)
    lines = [f'{by_status["done"]} clips done, {by_status["failed"]} failed, {by_status["missing"]} missing']
    if frames:
        shares = (
            f'{group.replace("_", " ")} {sum(row[group] * row["frames"] for row in done) / frames:.1%}'
            for group in _GROUPS
        )
        lines.append(f'{frames} frames, seen in: {", ".join(shares)}')
    reasons = Counter(row['reason'] for row in rows if row['status'] != 'done')
    lines.extend(f'  {count} × {reason}' for reason, count in reasons.most_common())
    return '\n'.join(lines)
