"""Writes videos with PyAV, as cameras, browsers and phones do."""

from fractions import Fraction

import av
import numpy as np


def write_video(
    path,
    pictures,
    codec,
    *,
    pixels='yuv420p',
    rate=25,
    times=None,
    sound=0.0,
    container=None,
    options=None,
    codec_options=None,
    rotation=0,
    mirrored=False,
    pixel_aspect=1,
):
    """Writes RGB pictures as a video.

    Args:
        path: the file, or an object with `write`, as a browser streams to.
        pictures: <uint8>[height, width, 3] each.
        codec: of the pictures.
        pixels: their format in the file.
        rate: frames per second in the header.
        times: milliseconds at which each is shown; default: as `rate` says.
        sound: seconds of noise; 0 for none.
        container: FFmpeg's name of it; default: as the suffix says.
        options: of the container.
        codec_options: of the codec; default: 8 megabits per second.
        rotation: degrees by which players turn it, counter-clockwise.
        mirrored: whether players mirror it.
        pixel_aspect: width over height of a pixel.
    """
    with av.open(path if hasattr(path, 'write') else str(path), 'w', format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=codec_options or {'b': '8M'})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.sample_aspect_ratio = Fraction(pixel_aspect)
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        tones = (
            output.add_stream({'webm': 'libopus'}.get(container or str(path)[-4:], 'mp2'), rate=48000)
            if sound
            else None
        )
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
            frame.time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
            frame.pts = index if times is None else times[index]
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if tones:
            size = tones.codec_context.frame_size or 1152
            for start in range(0, int(48000 * sound), size):
                noise = np.random.default_rng(start).integers(-999, 999, (1, size * tones.layout.nb_channels), np.int16)
                piece = av.AudioFrame.from_ndarray(noise, format='s16', layout=tones.layout.name)
                piece.sample_rate, piece.pts, piece.time_base = 48000, start, Fraction(1, 48000)
                output.mux(tones.encode(piece))
            output.mux(tones.encode(None))
    return path
