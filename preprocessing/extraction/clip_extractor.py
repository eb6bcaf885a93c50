"""The function that extracts the landmarks of clips; every way of running it calls this one."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import landmarker as landmarker_lib
from preprocessing.extraction import video, worker_pool

_DEFAULT_FPS = 30.0


class Extractor:
    """Landmarks of clips; one in each process."""

    def __init__(self, options: landmarker_lib.Options, models: Mapping[str, bytes]) -> None:
        self._options, self._models = options, models
        # In video mode every clip has its own, so that tracking cannot leak from one into the next.
        self._shared = landmarker_lib.Landmarker(options, models) if options.running_mode == 'image' else None

    def extract(self, clips: Sequence[clips_lib.Clip], path: str) -> Iterator[np.ndarray | worker_pool.Failure]:
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
                    yield worker_pool.Failure(f'{_segment(clip)}, the video has {number} frames')
        except video.VideoError as error:
            for _ in waiting:
                yield worker_pool.Failure(str(error))
        finally:
            for clip in running.values():
                self._close(clip)

    def close(self) -> None:
        """Frees MediaPipe."""
        if self._shared:
            self._shared.close()

    def _landmarker(self) -> landmarker_lib.Landmarker:
        return self._shared or landmarker_lib.Landmarker(self._options, self._models)

    def _close(self, clip: '_RunningClip') -> None:
        if clip.landmarker is not self._shared:
            clip.landmarker.close()

    def _finish(self, clip: '_RunningClip') -> np.ndarray:
        self._close(clip)
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
