"""Own recordings: a recipe for few clips."""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = default.get_config()
    config.model = 'class_query'
    config.num_heads = 10
    config.num_layers = 2
    config.mlp_dim = 512
    config.normalize = 'centered'
    # Missing points are fed as the middle of the normalized coordinates.
    config.missing_value = 0.0
    config.noise_std = 0.05
    config.dropout_rate = 0.2
    config.batch_size = 16
    config.bucket_by_length = True
    config.num_epochs = 100
    config.optimizer = 'adamw'
    config.learning_rate = 0.0005
    config.schedule = 'cosine'
    config.warmup_epochs = 5.0
    config.weight_decay = 0.05
    config.grad_clip_norm = 1.0
    config.label_smoothing = 0.1
    config.early_stop_epochs = 30
    return config
