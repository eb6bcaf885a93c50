"""A directory of extracted landmarks.

extraction.json (how they were made), one <video_id>.npz a clip, and report.csv. A clip's file holds
landmarks <float32>[frames, 75, 3] in the layout mediapipe_hands_pose, NaN where not seen; video (its `file`),
frame_start and frame_end as in the clips table; and extraction, the fingerprint of extraction.json.
"""

from collections import Counter
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

import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from slr_jax import errors, files

FORMAT = 'slr_jax extraction 1'
DESCRIPTION = 'extraction.json'
REPORT = 'report.csv'
UNFINISHED = '.unfinished'
_GROUPS = ('right_hand', 'left_hand', 'body')

Row = dict[str, Any]


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
    # Damaged zips raise many kinds of errors.
    except Exception as error:
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
            unfinished = os.path.join(path, UNFINISHED)
            shutil.rmtree(unfinished, ignore_errors=True)
            os.mkdir(unfinished)
            try:
                directory = cls(path, description)
                if not names:
                    with directory._aside(DESCRIPTION) as aside:
                        files.write_json(aside, {'format': FORMAT, **description})
                yield directory
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _aside(self, name: str) -> Iterator[str]:
        """A path to write a file to, that takes its place at the end."""
        aside, path = os.path.join(self.path, UNFINISHED, name), os.path.join(self.path, name)
        try:
            yield aside
        except OSError as error:
            error.filename = path
            raise
        os.replace(aside, path)

    def load(self, clip: clips_lib.Clip) -> np.ndarray | None:
        """Reads a clip that was extracted before; None where it was not."""
        return load_clip(self.path, clip, self.extraction)

    def save(self, clip: clips_lib.Clip, landmarks: np.ndarray) -> None:
        """Writes a clip, whole or not at all, also where the machine dies."""
        with self._aside(clip_file(clip)) as aside, open(aside, 'wb') as file:
            file.write(encode(clip, landmarks, self.extraction))
            file.flush()
            os.fsync(file.fileno())

    def save_report(self, rows: Sequence[Row]) -> None:
        """Writes report.csv."""
        with self._aside(REPORT) as aside:
            files.write_csv(aside, rows)


def path_of(clip: clips_lib.Clip, directory: str, kind: str) -> str:
    """A clip's video, or where `kind` is `frames` its folder of frames."""
    return os.path.join(directory, os.path.splitext(clip.file)[0] if kind == 'frames' else clip.file)


def clip_file(clip: clips_lib.Clip) -> str:
    """Name of a clip's file."""
    return f'{clip.video_id}.npz'


def read_file(path: str) -> Extracted:
    """Reads a clip's file; InputError where there is none or it is damaged."""
    if not os.path.isfile(path):
        raise errors.InputError(f'{path} is missing, expected the landmarks of a clip')
    return decode(path, landmarker_lib.read_file(path))


def load_clip(directory: str, clip: clips_lib.Clip, extraction: str) -> np.ndarray | None:
    """Reads a clip's landmarks; None where there is no file.

    Raises:
        InputError: the file is damaged, or of another clip or extraction.
    """
    path = os.path.join(directory, clip_file(clip))
    if not os.path.exists(path):
        return None
    found = read_file(path)
    check_same_clip(path, clip, found, extraction)
    return found.landmarks


# --- The report


def done_row(clip: clips_lib.Clip, landmarks: np.ndarray) -> Row:
    """A row of the report: frames, and the share of them with each hand and the body."""
    seen = ~np.isnan(landmarks[..., 0])
    groups = landmarker_lib.LAYOUT.groups
    shares = {group: round(float(seen[:, groups[group]].any(axis=1).mean()), 4) for group in _GROUPS}
    return {**_row(clip, 'done', ''), 'frames': len(landmarks), **shares}


def failed_row(clip: clips_lib.Clip, reason: str) -> Row:
    """A row of the report for a clip that could not be extracted."""
    return {**_row(clip, 'failed', reason), 'frames': 0, **dict.fromkeys(_GROUPS, '')}


def missing_row(clip: clips_lib.Clip) -> Row:
    """A row of the report for a clip whose video is not there."""
    return failed_row(clip, 'there is no such file') | {'status': 'missing'}


def check_none_missing(clips: Sequence[clips_lib.Clip], missing: Sequence[clips_lib.Clip], videos: str) -> None:
    """Raises InputError where videos are missing."""
    if missing:
        raise errors.InputError(
            f'{len(missing)} of {len(clips)} clips have no video in {videos}, the first is {missing[0].file}'
        )


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
