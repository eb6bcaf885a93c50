"""From videos to landmarks: MediaPipe, the files it writes, and workers on one machine or many."""
