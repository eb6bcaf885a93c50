"""WLASL100, MediaPipe hands and pose, SPOTER with position vector.

Luna-Jiménez et al., "Interpreting Sign Language Recognition using Transformers and MediaPipe Landmarks", ICMI 2023,
doi 10.1145/3577190.3614143, the published protocol.
Layout mediapipe_hands_pose, 150 features per frame. The commands that make the dataset are in docs/published.md.

    python -m slr_jax.train --config=configs/wlasl100_spoter_pe.py --workdir=runs/wlasl100_spoter_pe
    python -m slr_jax.evaluate --workdir=runs/wlasl100_spoter_pe --checkpoint=published

Published: 60.08 ± 5.98 % on 258 test clips, the best of 72 checkpoints on the test split, one seed;
the last checkpoint 58.9 %. 350 epochs took 5 h 48 min.
The kept checkpoints take about 2.4 GB.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = default.get_config()
    config.dataset = 'data/wlasl100'
    config.model = 'spoter_pe'
    config.num_heads = 10
    config.keep_published_checkpoints = True
    return config
