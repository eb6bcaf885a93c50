r"""KSL13, 13 Korean words of three recording sessions, MediaPipe hands and pose.

    python -m preprocessing.build_dataset --source=npz --input=ksl13_hands_pose.npz --name=ksl13 --data_dir=data
    python -m slr_jax.train --config=configs/ksl13.py --workdir=runs/ksl13
    python -m slr_jax.evaluate --workdir=runs/ksl13

The recipe of configs/wlasl100_hands.py, for fewer epochs, and with mirror images, for signers of either hand.

Measured, mean of seeds 0 to 2 on 650 test clips of another session (95 % interval): 88.3 % (85.5 to 90.6), and 89.1 %
(85.6 to 91.8) on their mirror images, in 4 minutes per seed on one busy CPU core.
"""

import ml_collections

from configs import own_videos


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = own_videos.get_config()
    config.dataset = 'data/ksl13'
    config.augment.mirror = 0.5
    config.batch_size = 32
    config.num_epochs = 40
    config.early_stop_epochs = None
    return config
