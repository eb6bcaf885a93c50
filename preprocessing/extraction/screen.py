"""A window on the screen. Must be opened before PyAV is imported: else Qt, in OpenCV, takes PyAV's libxcb and hangs."""

import os
import sys

import cv2
import numpy as np

from slr_jax import errors

_WINDOW = 'slr_jax'
_STOP_KEYS = (27, ord('q'))


def open_window() -> None:
    """Opens the window.

    Raises:
        InputError: there is no screen, or this OpenCV has no windows.
    """
    # OpenCV would end the process.
    if sys.platform == 'linux' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise errors.InputError('--display needs a screen, but DISPLAY is not set')
    try:
        cv2.namedWindow(_WINDOW, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        cv2.waitKey(1)
    except cv2.error as error:
        raise errors.InputError(f'--display: OpenCV cannot open a window: {errors.one_line(error)}') from error


def show(frame: np.ndarray) -> bool:
    """Shows a frame <uint8>[height, width, 3], RGB; returns whether Esc or q was pressed."""
    cv2.imshow(_WINDOW, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return cv2.waitKey(1) in _STOP_KEYS
