"""Long recordings: a window slides over the frames, its answers are smoothed, and equal ones joined to segments.

Each step is a generator over the one before, so that answers come while frames do, and memory holds no more than the
frames of a window and the windows of a batch:

    for segment in segments(answers(windows(frames, sliding), model, sliding)):
        print(segment.start, segment.end, segment.gloss)

Smoothing is the mean over the last windows, as in keyword spotting (Chen, Parada and Heigold, "Small-footprint keyword
spotting using deep neural networks", ICASSP 2014) and in the online demos of mmaction2. At both ends of what was seen
the means are over fewer windows, down to one, so that a sign in the last second is found as one in the first.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import itertools
from typing import Any, Protocol

import numpy as np

from slr_jax import dataset as dataset_lib
from slr_jax import errors
from slr_jax import landmarks as landmarks_lib

# Windows that are answered at once.
BATCH_SIZE = 32
# Frames this near to the edge of a window, in seconds, are on it.
_EDGE = 1e-6

# Seconds since the beginning, rising, and <float32>[points, 3], NaN where missing.
Frame = tuple[float, np.ndarray]


class Model(Protocol):
    """What answers windows, such as inference.LoadedModel."""

    @property
    def description(self) -> dataset_lib.Description:
        """Of the data that it was trained on: layout and glosses."""

    def probabilities(self, clips: list[np.ndarray], *, frame_size: tuple[int, int] | None = None) -> np.ndarray:
        """<float>[clips, classes] for <float32>[frames, points, 3] of each clip, of pictures of a width and height."""


@dataclasses.dataclass(frozen=True)
class Sliding:
    """How a recording is answered.

    Attributes:
        window: seconds that the model sees at once.
        stride: seconds from the start of a window to the start of the next.
        smoothing: number of windows, the last of which is the current one, whose probabilities are averaged.
        threshold: least averaged probability of a sign, below which there is none.
    """

    window: float = 2.0
    stride: float = 0.5
    smoothing: int = 3
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.stride <= self.window:
            raise errors.InputError(
                f'--stride={self.stride:g} is not within 0 to --window={self.window:g} seconds, so that frames would '
                'be left out'
            )


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames of a recording.

    Attributes:
        start: in seconds since the beginning, included.
        end: in seconds, not included.
        landmarks: <float32>[frames, points, 3]; no frames where the recording has a gap.
    """

    start: float
    end: float
    landmarks: np.ndarray


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a window and those before it say.

    Attributes:
        window: the last of those averaged.
        time: the middle of the windows that are averaged, in seconds.
        own: <float>[classes], probabilities of the window alone; 0 where it shows no hand.
        probabilities: <float>[classes], averaged.
        gloss: of the likeliest sign; None for no sign.
        probability: of the likeliest sign, averaged, whether it is above the threshold or not.
    """

    window: Window
    time: float
    own: np.ndarray
    probabilities: np.ndarray
    gloss: str | None
    probability: float


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a recording with one answer.

    Attributes:
        start, end: in seconds since the beginning; segments follow each other without gaps.
        gloss: of the sign; None for no sign.
        probability: mean over its answers of the probability of the likeliest sign.
    """

    start: float
    end: float
    gloss: str | None
    probability: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON line has it: `start`, `end`, `gloss` (null for no sign) and `probability`."""
        rounded = {'start': round(self.start, 3), 'end': round(self.end, 3)}
        return {**rounded, 'gloss': self.gloss, 'probability': round(self.probability, 6)}


def windows(frames: Iterable[Frame], sliding: Sliding) -> Iterator[Window]:
    """Slides a window over frames.

    The first window begins with the first frame. The last ends with the last frame, so that it may be nearer to the one
    before it; a recording that is shorter than a window is one window. Several windows without frames are one.
    """
    buffer: deque[Frame] = deque()
    first = seconds = period = 0.0
    index = 0
    for number, (seconds, points) in enumerate(frames):
        if not number:
            first = seconds
        while (start := first + index * sliding.stride) + sliding.window - _EDGE < seconds:
            end = start + sliding.window
            index += 1
            if buffer[-1][0] < start - _EDGE:
                # On to the first window that this frame is in.
                index = max(index, int((seconds + _EDGE - first - sliding.window) / sliding.stride) + 1)
                end = first + (index - 1) * sliding.stride + sliding.window
            yield _cut(buffer, start, end)
        if buffer:
            period = min(seconds - buffer[-1][0], sliding.stride)
        buffer.append((seconds, points))
        while buffer[0][0] < seconds - sliding.window - _EDGE:
            buffer.popleft()
    if buffer:
        end = seconds + period
        yield _cut(buffer, max(first, end - sliding.window), end)


def _cut(buffer: deque[Frame], start: float, end: float) -> Window:
    """The window of the frames of the buffer from `start` on."""
    inside = [points for seconds, points in buffer if seconds > start - _EDGE]
    return Window(start, end, np.stack(inside) if inside else buffer[-1][1][None][:0])


def answers(
    windows: Iterable[Window],
    model: Model,
    sliding: Sliding,
    *,
    batch_size: int = BATCH_SIZE,
    prepare: Callable[[np.ndarray], np.ndarray] = lambda landmarks: landmarks,
    frame_size: tuple[int, int] | None = None,
) -> Iterator[Answer]:
    """Answers windows; one that shows no hand, or has no frames, says that there is no sign.

    After the last window come means over fewer and fewer of the last ones, as before the first were over few.

    Args:
        windows: of one recording.
        model: what answers them.
        sliding: how they are smoothed.
        batch_size: windows that the model answers at once; 1 where each answer is wanted as soon as it can be given.
        prepare: makes the landmarks of a window a clip in the layout of the model.
        frame_size: width and height of the pictures as they are shown; None where unknown.
    """
    recent: deque[tuple[Window, np.ndarray]] = deque()

    def average() -> Answer:
        window, own = recent[-1]
        probabilities = np.mean([each for _, each in recent], axis=0)
        best = int(probabilities.argmax())
        is_sign = probabilities[best] >= sliding.threshold
        return Answer(
            window=window,
            time=float(np.mean([(each.start + each.end) / 2 for each, _ in recent])),
            own=own,
            probabilities=probabilities,
            gloss=model.description.label_names[best] if is_sign else None,
            probability=float(probabilities[best]),
        )

    def run_out() -> Iterator[Answer]:
        while len(recent) > 1:
            recent.popleft()
            yield average()
        recent.clear()

    for window, own in _answer_alone(windows, model, batch_size, prepare, frame_size):
        # What was seen before a gap says nothing about what comes after it.
        if recent and not (len(window.landmarks) and len(recent[-1][0].landmarks)):
            yield from run_out()
        recent.append((window, own))
        if len(recent) > sliding.smoothing:
            recent.popleft()
        yield average()
    yield from run_out()


def _answer_alone(
    windows: Iterable[Window],
    model: Model,
    batch_size: int,
    prepare: Callable[[np.ndarray], np.ndarray],
    frame_size: tuple[int, int] | None,
) -> Iterator[tuple[Window, np.ndarray]]:
    """Windows with their own probabilities <float64>[classes], 0 where no hand is shown."""
    hands = [point for hand in landmarks_lib.LAYOUTS[model.description.layout].hands for point in hand]
    options: dict[str, Any] = {} if frame_size is None else {'frame_size': frame_size}
    windows = iter(windows)
    while batch := list(itertools.islice(windows, batch_size)):
        clips = [prepare(window.landmarks) for window in batch]
        shown = [number for number, clip in enumerate(clips) if not np.isnan(clip[:, hands, 0]).all()]
        probabilities = np.zeros((len(batch), model.description.num_classes))
        if shown:
            probabilities[shown] = model.probabilities([clips[number] for number in shown], **options)
        yield from zip(batch, probabilities, strict=True)


def segments(answers: Iterable[Answer]) -> Iterator[Segment]:
    """Joins answers of the same sign that follow each other; a segment begins halfway between two answers."""
    start = total = 0.0
    count = 0
    last: Answer | None = None
    for answer in answers:
        if last is None:
            start = answer.window.start
        elif answer.gloss != last.gloss:
            end = (last.time + answer.time) / 2
            yield Segment(start, end, last.gloss, total / count)
            start, total, count = end, 0.0, 0
        total, count, last = total + answer.probability, count + 1, answer
    if last is not None:
        yield Segment(start, last.window.end, last.gloss, total / count)


def warm_up(model: Model, sliding: Sliding) -> None:
    """Compiles what the windows of a camera need, which delivers 10 to 30 frames per second."""
    num_points = landmarks_lib.LAYOUTS[model.description.layout].num_points
    for fps in range(10, 31, 2):
        clip = np.zeros((max(1, round(fps * sliding.window)), num_points, 3), np.float32)
        model.probabilities([clip])
