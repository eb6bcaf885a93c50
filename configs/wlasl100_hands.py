r"""WLASL100, two hands in no fixed order (MediaPipe Hands), class query with learned mask: a sensible recipe.

    python -m preprocessing.build_dataset --source=npz --input=wlasl100_hands.npz --name=wlasl100_hands --data_dir=data
    python -m slr_jax.train --config=configs/wlasl100_hands.py --workdir=runs/wlasl100_hands
    python -m slr_jax.evaluate --workdir=runs/wlasl100_hands

Measured, mean of seeds 0 to 2 on 100 test clips (95 % interval), as of commit f46475c: 57.3 % (47.5 to 66.6), in 17
minutes per seed on one CPU core.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = default.get_config()
    config.dataset = 'data/wlasl100_hands'
    config.model = 'class_query'
    config.num_heads = 7
    config.normalize = 'centered'
    # Missing points are fed as the middle of the normalized coordinates.
    config.missing_value = 0.0
    config.noise_std = 0.05
    config.dropout_rate = 0.2
    config.batch_size = 32
    config.bucket_by_length = True
    config.num_epochs = 60
    config.optimizer = 'adamw'
    config.learning_rate = 0.0005
    config.schedule = 'cosine'
    config.warmup_epochs = 5.0
    config.weight_decay = 0.05
    config.grad_clip_norm = 1.0
    config.label_smoothing = 0.1
    return config
