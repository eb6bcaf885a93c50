"""IPN Hand, one hand, SPOTER with position vector.

Luna-Jiménez et al., "Interpreting Sign Language Recognition using Transformers and MediaPipe Landmarks", ICMI 2023,
doi 10.1145/3577190.3614143, the published protocol.
Layout mediapipe_hand, 42 features per frame. The commands that make the dataset are in docs/published.md.

    python -m slr_jax.train --config=configs/ipn_hand_spoter_pe.py --workdir=runs/ipn_hand_spoter_pe
    python -m slr_jax.evaluate --workdir=runs/ipn_hand_spoter_pe --checkpoint=published

Published: 86.10 ± 2.04 % on 1,101 test clips, the best of 72 checkpoints on the test split, one seed;
the last checkpoint 85.6 %. 350 epochs took 12 h 45 min.
The paper validates on the test split. Here a fifth of the training clips validates; with --config.validation=none all
of them train, and the latest checkpoint is the one to test.
The kept checkpoints take about 0.6 GB.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = default.get_config()
    config.dataset = 'data/ipn_hand'
    config.model = 'spoter_pe'
    config.num_heads = 7
    config.validation = 'from_train'
    config.keep_published_checkpoints = True
    return config
