"""A directory of extracted landmarks.

extraction.json (how they were made), one <video_id>.npz per clip, and report.csv. A clip's file holds
landmarks <float32>[frames, 75, 3] in the layout mediapipe_hands_pose, NaN where not seen; video (its `file`),
frame_start and frame_end as in the clips table; extraction, the fingerprint of extraction.json; hands_given_up, the
number of hands over all frames that are of another person or too far from the body; and frame_size, width and height of
the pictures as they are shown, in square pixels. Files of 0.2.0 lack the last two.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
from typing import Any, Self

import numpy as np
import pandas as pd

from preprocessing import clips as clips_lib
from preprocessing import folders
from preprocessing.extraction import landmarker as landmarker_lib
from slr_jax import dataset as dataset_lib
from slr_jax import errors, file_limits, files, frame_sizes

FORMAT = 'slr_jax extraction 2'
# Its hand_names are now handedness.
_OLD_FORMAT = 'slr_jax extraction 1'
DESCRIPTION = 'extraction.json'
REPORT = 'report.csv'
DEFAULT_TOLERANCE = 10
_GROUPS = ('right_hand', 'left_hand', 'body')
_OPTIONAL = ('hands_given_up', 'frame_size')
_UNSEEN, _SELDOM = 'nothing seen', 'seldom seen'
# Fractions of the frames of a clip. Of 11,000 clips of signs 12 have the hand that is seen more often in fewer than a
# tenth, and 2,400 in fewer than half, but every one of those whose bodies are known has its body in most.
_FEWEST_HANDS, _FEWEST_FRAMES = 0.1, 0.5

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ClipLandmarks:
    """What a clip's file holds; see the top of this file."""

    landmarks: np.ndarray
    video: str
    frame_start: int
    frame_end: int
    extraction: str
    hands_given_up: int | None = None
    frame_size: tuple[int, int] | None = None


def fingerprint(description: Mapping[str, Any]) -> str:
    """A hash of what extraction.json says."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def encode(
    clip: clips_lib.Clip,
    landmarks: np.ndarray,
    extraction: str,
    hands_given_up: int | None = None,
    frame_size: tuple[int, int] | None = None,
) -> bytes:
    """The bytes of a clip's file; the same for the same content."""
    buffer = io.BytesIO()
    place = (clip.file, clip.frame_start, clip.frame_end)
    content = ClipLandmarks(landmarks, *place, extraction, hands_given_up, frame_size)
    arrays = {key: np.array(value) for key, value in vars(content).items() if value is not None}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def decode(path: str, content: bytes) -> ClipLandmarks:
    """Reads the bytes of a clip's file; InputError, naming `path`, where they are damaged or something else."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            file_limits.check_zip(path, archive.zip, len(content))
            names = [field.name for field in dataclasses.fields(ClipLandmarks)]
            fields = {name: archive[name] for name in names if name in archive or name not in _OPTIONAL}
        landmarks = fields.pop('landmarks')
        size = fields.pop('frame_size', None)
        frame_size = None if size is None else (int(size[0]), int(size[1]))
        if landmarks.dtype != np.float32 or landmarks.shape[1:] != (landmarker_lib.LAYOUT.num_points, 3):
            raise ValueError(landmarks.shape)
        return ClipLandmarks(landmarks, **{key: value.item() for key, value in fields.items()}, frame_size=frame_size)
    except errors.InputError:
        raise
    # Damaged zips raise many kinds of errors.
    except Exception as error:
        raise errors.InputError(f'{path} is damaged or holds no extracted landmarks; remove it') from error


def read_file(path: str) -> ClipLandmarks:
    """Reads a clip's file; InputError where there is none or it is damaged."""
    content = files.read_bytes(path)
    if content is None:
        raise errors.InputError(f'{path} is missing, expected the landmarks of a clip')
    return decode(path, content)


def read_description(directory: str) -> tuple[dict[str, Any], str]:
    """What extraction.json says, and its fingerprint; InputError where there is none."""
    path = os.path.join(directory, DESCRIPTION)
    content = files.read_bytes(path)
    if content is None:
        raise errors.InputError(f'{directory} has no {DESCRIPTION}, expected a directory of extract_landmarks')
    return _parse_description(path, content)


def _parse_description(path: str, content: bytes) -> tuple[dict[str, Any], str]:
    try:
        description = files.parse_json(content)
    except ValueError as error:
        raise errors.InputError(f'{path} is damaged, expected JSON: {errors.one_line(error)}') from error
    if not isinstance(description, dict) or description.pop('format', None) not in (FORMAT, _OLD_FORMAT):
        raise errors.InputError(f'{path} is of another kind, expected format {FORMAT!r}')
    parts = description.get('parts', [])
    if not isinstance(parts, list) or not set(map(str, parts)) <= set(landmarker_lib.PARTS):
        raise errors.InputError(f'{path} says parts = {parts!r}, expected some of {list(landmarker_lib.PARTS)}')
    # The files beside it have the fingerprint of the fields as they were named then.
    return dataset_lib.upgrade_fields(description), fingerprint(description)


@dataclasses.dataclass(frozen=True)
class LandmarkStore:
    """A directory of landmarks to write to; small enough to be sent to worker processes.

    Attributes:
        path: the directory.
        fingerprint: of its extraction.json.
        tolerance: frames that a clip may lack at the end of its video.
    """

    path: str
    fingerprint: str
    tolerance: float = math.inf

    @classmethod
    def create_or_continue(cls, path: str, description: Mapping[str, Any], tolerance: int) -> Self:
        """Writes extraction.json to a directory, or checks the one that is there.

        Raises:
            InputError: it has another description.
        """
        name = os.path.join(path, DESCRIPTION)
        content = cls.read(name)
        if content is None:
            store = cls(path, fingerprint(description), tolerance)
            text = json.dumps({'format': FORMAT, **description}, indent=2, ensure_ascii=False)
            store.write(DESCRIPTION, f'{text}\n'.encode())
            return store
        found, found_fingerprint = _parse_description(name, content)
        for field in dict.fromkeys((*description, *found)):
            if found.get(field) != description.get(field):
                raise errors.InputError(
                    f'{name} says {field} = {found.get(field)!r}, this run has {description.get(field)!r}; use another '
                    '--output for other options'
                )
        return cls(path, found_fingerprint, tolerance)

    @staticmethod
    def read(path: str) -> bytes | None:
        """The content of a file, None where there is none."""
        return files.read_bytes(path)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, whole or not at all, also where the machine dies."""
        temporary, path = os.path.join(self.path, files.UNFINISHED, name), os.path.join(self.path, name)
        try:
            with open(temporary, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise errors.InputError(f'{path}: {error.strerror or error}') from error

    def read_named(self, video_id: str) -> ClipLandmarks | None:
        """Reads the file of a name; None where there is none, InputError where it is damaged or has other options."""
        path = os.path.join(self.path, f'{video_id}.npz')
        content = self.read(path)
        if content is None:
            return None
        found = decode(path, content)
        if found.extraction != self.fingerprint:
            raise errors.InputError(f'{path} was extracted with other options than {DESCRIPTION} beside it; remove it')
        return found

    def read_clip(self, clip: clips_lib.Clip) -> ClipLandmarks | None:
        """Reads a clip's file; None where there is none.

        Raises:
            InputError: the file is damaged, of another clip or extraction, or lacks more frames than are tolerated.
        """
        found = self.read_named(clip.video_id)
        if found is None:
            return None
        path = os.path.join(self.path, f'{clip.video_id}.npz')
        if (found.video, found.frame_start, found.frame_end) != (clip.file, clip.frame_start, clip.frame_end):
            frames = clips_lib.frame_range(found.frame_start, found.frame_end)
            raise errors.InputError(
                f'{path} holds frames {frames} of {found.video}, but the clips table says {clip.frame_range} of '
                f'{clip.file}; remove the file or use another directory'
            )
        if missing_frames(clip, found.landmarks) > self.tolerance:
            raise errors.InputError(
                f'{path} has {len(found.landmarks)} of the {clip.num_frames} frames of the clips table, beyond '
                f'--tolerance={self.tolerance}; remove the file or use another directory'
            )
        return found

    def save(
        self,
        clip: clips_lib.Clip,
        landmarks: np.ndarray,
        hands_given_up: int | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        """Writes a clip's file."""
        self.write(f'{clip.video_id}.npz', encode(clip, landmarks, self.fingerprint, hands_given_up, frame_size))

    def save_report(self, rows: Sequence[Row]) -> None:
        """Writes report.csv."""
        self.write(REPORT, pd.DataFrame(rows).to_csv(index=False).encode())


@contextlib.contextmanager
def open_store(
    path: str, description: Mapping[str, Any], tolerance: int = DEFAULT_TOLERANCE
) -> Iterator[LandmarkStore]:
    """Makes a directory, or continues one of the same description, that one run at a time writes to.

    Raises:
        InputError: it holds other things or another description, or another process writes to it.
    """
    with files.only_writer(path):
        names = [name for name in os.listdir(path) if not name.startswith('.')]
        if names and DESCRIPTION not in names:
            raise errors.InputError(f'{path} holds {names[0]!r} and no {DESCRIPTION}, expected a new directory')
        with files.unfinished_in(path):
            yield LandmarkStore.create_or_continue(path, description, tolerance)


def missing_frames(clip: clips_lib.Clip, landmarks: np.ndarray) -> int:
    """How many frames of a clip lie after the end of its video."""
    return (clip.num_frames or len(landmarks)) - len(landmarks)


# --- The report


def done_row(
    clip: clips_lib.Clip,
    landmarks: np.ndarray,
    hands_given_up: int | None,
    frame_size: tuple[int, int] | None = None,
) -> Row:
    """A row of the report: frames, in what fraction of them each hand and the body were seen, hands given up, and size.

    The reason says where the video ends before the clip, and where nothing was seen.
    """
    seen = ~np.isnan(landmarks[..., 0])
    groups = landmarker_lib.LAYOUT.groups
    fractions = {group: round(float(seen[:, groups[group]].any(axis=1).mean()), 4) for group in _GROUPS}
    shorter = missing_frames(clip, landmarks)
    end = clip.frame_start + len(landmarks) - 1
    reasons = [f'the annotation ends at frame {clip.frame_end}, the video at frame {end}'] * bool(shorter)
    reasons += ['no body or hand was seen in any frame'] * (not seen.any())
    given_up = '' if hands_given_up is None else hands_given_up
    row = _row(clip, 'done' if seen.any() else _UNSEEN, '; '.join(reasons))
    size = '' if frame_size is None else '{}x{}'.format(*frame_size)
    return {**row, 'frames': len(landmarks), **fractions, 'hands_given_up': given_up, 'frame_size': size}


def is_seldom_seen(hands: Sequence[float], body: float | None) -> bool:
    """Whether what was seen of a clip is too little to be plausible.

    Args:
        hands: in which fraction of the frames each hand was seen; empty where hands were not looked for.
        body: the same of the body; None where it was not looked for.
    """
    hand = max(hands, default=None)
    if hand is not None and hand < _FEWEST_HANDS:
        return True
    return body is not None and max(body, hand or 0.0) < _FEWEST_FRAMES


def note_seldom_seen(rows: Sequence[Row], parts: Sequence[str]) -> None:
    """Adds to the reasons of clips in which too little was seen of the parts that were looked for."""
    for row in rows:
        hands = [row[group] for group in _GROUPS[:2]] if 'hands' in parts else []
        if row['status'] == 'done' and is_seldom_seen(hands, row['body'] if 'pose' in parts else None):
            seen = ', '.join(f'{group.replace("_", " ")} {row[group]:.1%}' for group in _GROUPS)
            row['reason'] = '; '.join(filter(None, (row['reason'], f'{_SELDOM}: {seen} of the frames')))


def failed_row(clip: clips_lib.Clip, reason: str) -> Row:
    """A row of the report for a clip that could not be extracted."""
    return {**_row(clip, 'failed', reason), 'frames': 0, **dict.fromkeys((*_GROUPS, *_OPTIONAL), '')}


def missing_row(clip: clips_lib.Clip) -> Row:
    """A row of the report for a clip whose video is missing."""
    return failed_row(clip, 'there is no such file') | {'status': 'missing'}


def require_videos(clips: Sequence[clips_lib.Clip], missing: Sequence[clips_lib.Clip], videos: str) -> None:
    """Raises InputError where videos are missing."""
    if missing:
        raise errors.InputError(
            f'{len(missing)} of {len(clips)} clips have no video in {videos}, the first is {missing[0].file}'
        )


def _row(clip: clips_lib.Clip, status: str, reason: str) -> Row:
    return {'video_id': clip.video_id, 'file': clip.file, 'status': status, 'reason': reason}


def summary(rows: Sequence[Row]) -> str:
    """Clips done, failed and why, frames, and in which fraction of them each hand and the body were seen.

    The last line names the clips in which nothing, or too little, was seen.
    """
    by_status = Counter(row['status'] for row in rows)
    done = [row for row in rows if row['status'] in ('done', _UNSEEN)]
    frames = sum(row['frames'] for row in done)
    unseen = f', {by_status[_UNSEEN]} {_UNSEEN}' if by_status[_UNSEEN] else ''
    lines = [f'{by_status["done"]} clips done{unseen}, {by_status["failed"]} failed, {by_status["missing"]} missing']
    if frames:
        fractions = (
            f'{group.replace("_", " ")} {sum(row[group] * row["frames"] for row in done) / frames:.1%}'
            for group in _GROUPS
        )
        lines.append(f'{frames} frames, seen in: {", ".join(fractions)}')
    shorter = sum('the annotation ends' in row['reason'] for row in done)
    if shorter:
        lines.append(f'clips shorter than annotated, because the video ends first: {shorter}, named in {REPORT}')
    given_up = [row['hands_given_up'] for row in done if row['hands_given_up']]
    if given_up:
        lines.append(
            f'{sum(given_up)} hands of {len(given_up)} clips are given up: they are of another person, or too far from '
            f'the body; hands_given_up in {REPORT} counts them'
        )
    reasons = Counter(row['reason'] for row in rows if row['status'] in ('failed', 'missing'))
    lines.extend(f'  {count} × {reason}' for reason, count in reasons.most_common())
    sizes = dict(Counter(row['frame_size'] for row in done if row['frame_size']).most_common())
    if frame_sizes.has_several_shapes(sizes):
        lines.append(f'pictures of several shapes, by number of clips: {frame_sizes.describe(sizes)}')
    older = [row['video_id'] for row in done if not row['frame_size']]
    if older:
        lines.append(
            'warning: an older version, which misread pictures whose width is no multiple of 16, extracted '
            f'{folders.count_and_name(older)}; remove their .npz files and run the command again'
        )
    return '\n'.join([*lines, *unseen_line(rows)])


def unseen_line(rows: Sequence[Row]) -> list[str]:
    """A line that names the clips in which nothing, or too little, was seen; none where there are no such clips."""
    named = {
        _UNSEEN: [row['video_id'] for row in rows if row['status'] == _UNSEEN],
        _SELDOM: [row['video_id'] for row in rows if _SELDOM in row['reason']],
    }
    found = [f'{what} in {folders.count_and_name(names)}' for what, names in named.items() if names]
    return [f'warning: of {len(rows)} clips, {", ".join(found)}; {REPORT} has each'] if found else []


def read_report(directory: str) -> list[Row]:
    """The rows of report.csv."""
    return pd.read_csv(os.path.join(directory, REPORT), dtype={'video_id': str}, keep_default_na=False).to_dict(
        'records'
    )


def require_done(rows: Sequence[Row], directory: str) -> None:
    """Raises InputError where no clip is done."""
    if not any(row['status'] == 'done' for row in rows):
        unseen = [row['video_id'] for row in rows if row['status'] == _UNSEEN]
        reason = 'no clip could be extracted'
        if unseen:
            reason = f'nothing was seen in the clips that could be extracted: {folders.count_and_name(unseen)}'
        raise errors.InputError(f'{reason}; {directory}/{REPORT} says why')
