r"""KSL13, 13 Korean words of three recording sessions, MediaPipe hands and pose: a sensible recipe.

    python -m preprocessing.build_dataset --source=npz --input=ksl13_hands_pose.npz --name=ksl13 --data_dir=data
    python -m slr_jax.train --config=configs/ksl13.py --workdir=runs/ksl13
    python -m slr_jax.evaluate --workdir=runs/ksl13

`--config.model=spoter_no_pe` trains the same model without the mask.

Measured, mean of seeds 0 to 2 on 650 test clips of another session (95 % interval): 62.7 % (58.9 to 66.3), in a
minute per seed on 2 CPU cores. Without the mask, as of commit 3f577d5: 63.1 % (59.4 to 66.8).
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = default.get_config()
    config.dataset = 'data/ksl13'
    config.model = 'class_query'
    config.num_heads = 10
    config.normalize = 'centered'
    # Missing points are fed as the middle of the normalized coordinates.
    config.missing_value = 0.0
    config.noise_std = 0.05
    config.batch_size = 32
    config.num_epochs = 12
    config.optimizer = 'adamw'
    config.learning_rate = 0.0005
    config.schedule = 'cosine'
    config.warmup_epochs = 2.0
    config.weight_decay = 0.05
    config.grad_clip_norm = 1.0
    config.label_smoothing = 0.1
    return config
