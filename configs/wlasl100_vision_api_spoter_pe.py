"""WLASL100, Vision API landmarks, SPOTER with position vector.

Luna-Jiménez et al., "Interpreting Sign Language Recognition using Transformers and MediaPipe Landmarks", ICMI 2023,
doi 10.1145/3577190.3614143, the published protocol.
Layout vision_api, 108 features per frame. The commands that make the dataset are in docs/published.md.

    python -m slr_jax.train --config=configs/wlasl100_vision_api_spoter_pe.py --workdir=runs/wlasl100_vision_api
    python -m slr_jax.evaluate --workdir=runs/wlasl100_vision_api --checkpoint=published

Published: 46.90 ± 6.09 % on 258 test clips, the best of 72 checkpoints on the test split, one seed;
the last checkpoint 45.0 %. 350 epochs.
The kept checkpoints take about 1.7 GB.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = default.get_config()
    config.dataset = 'data/wlasl100_vision_api'
    config.model = 'spoter_pe'
    config.num_heads = 9
    config.keep_published_checkpoints = True
    return config
