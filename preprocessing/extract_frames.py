"""Videos -> folders of frames, as published: <video>/<video>_%06d.jpg, from 1.

python -m preprocessing.extract_frames --videos=D --output_dir=F [--num_workers=N] [--quality=2]

For those who want frames; `extract_landmarks` reads videos as they are. A folder is written whole or not at all, and
existing folders are left alone.
"""

import os

from absl import flags

from slr_jax import cli


def _define_flags() -> None:
    flags.DEFINE_string('videos', None, 'Directory of videos.', required=True)
    flags.DEFINE_string('output_dir', None, 'Directory for the folders of frames.', required=True)
    flags.DEFINE_integer('quality', 2, "JPEG quality as ffmpeg's -qscale:v: 2 is best, 31 worst.", 2, 31)
    flags.DEFINE_integer(
        'num_workers', os.cpu_count(), 'Number of worker processes; default: one per core.', lower_bound=1
    )
    flags.DEFINE_float('time_limit', 600.0, 'Most seconds per video.', lower_bound=0.1)


def main() -> None:
    """Extracts all frames."""
    values = flags.FLAGS

    from preprocessing.extraction import frame_files

    frame_files.extract(values.videos, values.output_dir, values.quality, values.num_workers, values.time_limit)


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
