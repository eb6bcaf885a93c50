r"""WLASL100, two hands in no fixed order (MediaPipe Hands): convolutions and attention, with the learned mask.

    python -m preprocessing.build_dataset --source=npz --input=wlasl100_hands.npz --name=wlasl100_hands --data_dir=data
    python -m slr_jax.train --config=configs/wlasl100_hands.py --workdir=runs/wlasl100_hands
    python -m slr_jax.evaluate --workdir=runs/wlasl100_hands

The recipe was chosen by cross-validation, see docs/results.md.

Measured, mean of seeds 0 to 2 on the 99 test clips that are no copies of training clips (95 % interval): 67.0 %
(51.0 to 79.8), in 5 minutes per seed on one CPU core.
"""

import ml_collections

from configs import own_videos


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = own_videos.get_config()
    config.dataset = 'data/wlasl100_hands'
    config.batch_size = 32
    config.early_stop_epochs = None
    return config
