"""From videos to landmarks: MediaPipe, the files it writes, and workers on one machine or many."""

import os

# Of a picture; those of 8K have half as many. OpenCV reads its limit where it is imported first.
MAX_PIXELS = 2**26
os.environ['OPENCV_IO_MAX_IMAGE_PIXELS'] = str(MAX_PIXELS)
