"""Extracts the landmarks of clips; every way of running it, on one machine or many, calls `extract_video`."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses

import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import people, video, worker_pool
from preprocessing.extraction import store as store_lib
from slr_jax import errors

DEFAULT_FPS = 30.0
# In video mode looking for several people in every frame would take half as long again.
_FRAMES_BETWEEN_LOOKS = 10


class Extractor:
    """Landmarks of clips; one in each process."""

    def __init__(self, options: landmarker_lib.Options, models: Mapping[str, bytes]) -> None:
        self._options, self._models = options, models
        # In video mode every clip has its own, so that tracking cannot leak from one into the next; this one only looks
        # whether there are several people.
        parts = ('pose',) if options.running_mode == 'video' and 'pose' in options.parts else options.parts
        untracked = dataclasses.replace(options, running_mode='image', parts=parts)
        self._shared = landmarker_lib.Landmarker(untracked, models)

    def extract(
        self, clips: Sequence[clips_lib.Clip], path: str, tolerance: float = 0
    ) -> Iterator[people.Extracted | worker_pool.Failure]:
        """Extracts clips of one video, which is read once, forward.

        Args:
            clips: in the order of `group_by_video`.
            path: the video, or its folder of frames.
            tolerance: frames that a clip may lack at the end of the video; it then has those that are there.

        Yields:
            For each clip, in their order, its landmarks or why there are none.
        """
        waiting = deque(clips)
        opened: dict[str, Finder] = {}
        found: dict[str, list[landmarker_lib.Found]] = defaultdict(list)
        to_the_end = clips[-1].frame_end == clips_lib.TO_THE_END
        number = 0
        try:
            frame_size = video.frame_size(path)
            frames = video.read_timed_frames(
                path,
                wanted=lambda number: any(_contains(clip, number) for clip in waiting),
                last=None if to_the_end else clips[-1].frame_end,
            )
            for number, seconds, frame in frames:
                for clip in waiting:
                    if _contains(clip, number):
                        if clip.video_id not in opened:
                            opened[clip.video_id] = self.open(clip.fps or DEFAULT_FPS)
                        found[clip.video_id].append(opened[clip.video_id].find(frame, seconds))
                while waiting and waiting[0].frame_end == number:
                    clip = waiting.popleft()
                    opened.pop(clip.video_id).close()
                    yield self._resolve(clip, found.pop(clip.video_id), frame_size)
            for clip in waiting:
                if clip.video_id in opened and (clip.num_frames is None or clip.frame_end - number <= tolerance):
                    opened.pop(clip.video_id).close()
                    yield self._resolve(clip, found.pop(clip.video_id), frame_size)
                else:
                    yield worker_pool.Failure(
                        f'the clip needs frames {clip.frame_range}, the video has {number} frames'
                    )
        except video.VideoError as error:
            for _ in waiting:
                yield worker_pool.Failure(str(error))
        finally:
            for finder in opened.values():
                finder.close()

    @property
    def handedness(self) -> str:
        """Of landmarks.HANDEDNESS, as the landmarks have it."""
        return self._options.handedness

    def close(self) -> None:
        """Frees MediaPipe."""
        self._shared.close()

    def open(self, fps: float = DEFAULT_FPS) -> 'Finder':
        """Begins a clip, or a recording of any length; `fps` counts where its frames have no times."""
        if self._options.running_mode == 'image':
            return Finder(self._shared, fps)
        return _TrackingFinder(self._shared, fps, self._options, self._models)

    def _resolve(
        self, clip: clips_lib.Clip, found: Sequence[landmarker_lib.Found], frame_size: tuple[int, int]
    ) -> people.Extracted:
        resolved = people.resolve_clip(found, clip.bbox, self._options.handedness)
        return dataclasses.replace(resolved, frame_size=frame_size)


class Finder:
    """Finds what is in the frames of a clip, or of a recording, one after the other; it keeps none."""

    def __init__(self, landmarker: landmarker_lib.Landmarker, fps: float) -> None:
        self._landmarker, self._fps = landmarker, fps
        self._num_frames = 0
        self._start: float | None = None
        self._milliseconds = -1

    def find(self, frame: np.ndarray, seconds: float | None) -> landmarker_lib.Found:
        """What is in the next frame, which is shown at a second of the video, None where only the rate is known."""
        if seconds is None:
            seconds = self._num_frames / self._fps
        if self._start is None:
            self._start = seconds
        self._num_frames += 1
        # MediaPipe wants times that rise, which those of some videos do not.
        self._milliseconds = max(self._milliseconds + 1, round(1000 * (seconds - self._start)))
        return self._landmarker.find(frame, self._milliseconds)

    def close(self) -> None:
        """Frees what is the clip's own."""


class _TrackingFinder(Finder):
    """One with a landmarker of its own, which follows one person until several are seen."""

    def __init__(
        self,
        looking: landmarker_lib.Landmarker,
        fps: float,
        options: landmarker_lib.Options,
        models: Mapping[str, bytes],
    ) -> None:
        super().__init__(landmarker_lib.Landmarker(options, models, num_people=1), fps)
        self._looking, self._options, self._models = looking, options, models
        self._alone = True

    def find(self, frame: np.ndarray, seconds: float | None) -> landmarker_lib.Found:
        looks = self._alone and self._num_frames % _FRAMES_BETWEEN_LOOKS == 0
        if looks and people.shows_several(self._looking.find(frame, 0)):
            self._alone = False
            self._landmarker.close()
            self._landmarker = landmarker_lib.Landmarker(self._options, self._models)
        return super().find(frame, seconds)

    def close(self) -> None:
        self._landmarker.close()


def _contains(clip: clips_lib.Clip, number: int) -> bool:
    return clip.frame_start <= number and (clip.frame_end == clips_lib.TO_THE_END or number <= clip.frame_end)


def group_by_video(clips: Sequence[clips_lib.Clip]) -> list[tuple[clips_lib.Clip, ...]]:
    """Groups clips by their video; within a group, clips that end first come first."""
    groups: dict[str, list[clips_lib.Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.file, []).append(clip)
    return [tuple(sorted(group, key=_last_frame)) for group in groups.values()]


def _last_frame(clip: clips_lib.Clip) -> float:
    return float('inf') if clip.frame_end == clips_lib.TO_THE_END else clip.frame_end


def extract_video(
    clips: Sequence[clips_lib.Clip],
    store: store_lib.LandmarkStore,
    extractor: Extractor,
    find_video: Callable[[], str | None],
) -> Iterator[store_lib.Row]:
    """Extracts the clips of one video that a store lacks, and saves them.

    Args:
        clips: in the order of `group_by_video`.
        store: where landmarks are saved.
        extractor: of this process.
        find_video: returns the video or its folder of frames, None where it is missing; called only where needed.

    Yields:
        The row of the report for each clip, in their order.

    Raises:
        InputError: a file of the store is damaged or of something else, or cannot be written.
    """
    rows = {}
    for clip in clips:
        found = store.read_clip(clip)
        if found is not None:
            rows[clip] = store_lib.done_row(clip, found.landmarks, found.hands_given_up, found.frame_size)
    to_do = [clip for clip in clips if clip not in rows]
    path = find_video() if to_do else None
    results = _results(extractor, to_do, path, store.tolerance) if path else iter(())
    for clip in clips:
        if clip in rows:
            yield rows[clip]
        elif path is None:
            yield store_lib.missing_row(clip)
        else:
            result = next(results)
            if isinstance(result, worker_pool.Failure):
                yield store_lib.failed_row(clip, result.reason)
            else:
                store.save(clip, result.landmarks, result.hands_given_up, result.frame_size)
                yield store_lib.done_row(clip, result.landmarks, result.hands_given_up, result.frame_size)


def _results(
    extractor: Extractor, clips: Sequence[clips_lib.Clip], path: str, tolerance: float
) -> Iterator[people.Extracted | worker_pool.Failure]:
    """As Extractor.extract; an error fails its clip only, and the video is read again for those after it."""
    waiting = deque(clips)
    while waiting:
        try:
            for result in extractor.extract(tuple(waiting), path, tolerance):
                waiting.popleft()
                yield result
        except errors.InputError:
            raise
        # MediaPipe and OpenCV raise many kinds of errors.
        except Exception as error:
            waiting.popleft()
            yield worker_pool.Failure(errors.one_line(error))
