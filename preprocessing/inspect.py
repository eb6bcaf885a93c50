"""Draws the landmarks of a clip on its frames, to see whether extraction worked.

    python -m preprocessing.inspect --landmarks=L --video_id=V --videos=D --output=V.png

A .png is a contact sheet of frames spread over the clip, a .mp4 has the whole clip. The signer's right hand is red,
the left hand blue, the body green.
"""

from absl import flags

from preprocessing.extraction import video_files
from slr_jax import cli


def _define_flags() -> None:
    flags.DEFINE_string('landmarks', None, 'Directory of extract_landmarks.', required=True)
    flags.DEFINE_string('video_id', None, 'Name of the clip to draw.', required=True)
    video_files.define_flags()
    flags.adopt_module_key_flags(video_files)
    flags.DEFINE_string('output', None, 'New .png (frames spread over the clip) or .mp4 (all frames).', required=True)
    flags.DEFINE_integer('num_tiles', 12, 'Number of frames in a .png.', lower_bound=1)


def main() -> None:
    """Draws the clip that the flags name."""
    values = flags.FLAGS

    from preprocessing.extraction import drawing

    videos, kind = video_files.parse_flags(values)
    given = (values.landmarks, values.video_id, videos, values.output)
    print(drawing.draw_clip(*given, kind=kind, num_tiles=values.num_tiles))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
