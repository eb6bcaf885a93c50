r"""Own recordings, any layout: convolutions and attention, with the learned mask; a recipe of minutes.

    python -m preprocessing.videos_to_dataset --videos=videos --name=signs --data_dir=data
    python -m slr_jax.train --config=configs/own_videos.py --config.dataset=data/signs --workdir=runs/signs
    python -m slr_jax.evaluate --workdir=runs/signs

Where there is no validation split, train with `--config.validation=holdout`. Where signers use either hand,
`--config.augment.mirror=0.5` shows the model mirror images as well, unless left and right mean different signs.

What to take with
- 5 clips of a class: `--config.init_from=W`, the run W of this config on other signs, see docs/training.md.
- 20: as it is.
- 100: `--config.batch_size=32 --config.num_epochs=40 --config.early_stop_epochs=40`, as configs/ksl13.py.

Measured on 13 words of KSL13, mean of seeds 0 and 1, on 650 test clips of another session (95 % interval of the clips
alone): with 5 clips per class 65.5 % (61.8 to 69.1), with 20 68.4 % (64.7 to 71.8), both without mirror images; with 50
and mirror images 88.3 % (configs/ksl13.py). On 130 clips of the validation session: 100 % (97.1 to 100).
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """See the module."""
    config = default.get_config()
    config.normalize = 'centered'
    # Missing points are fed as the middle of the normalized coordinates.
    config.missing_value = 0.0
    config.trim = 'ends'
    config.num_frames = 32
    config.differences = 2
    config.noise_std = 0.0
    config.augment.crop = 0.7
    config.augment.warp = 0.5
    config.augment.affine = 0.75
    config.model = 'conv_transformer'
    config.num_heads = 4
    config.num_layers = 2
    config.mlp_dim = 256
    config.pooling = 'max_mean'
    config.dropout_rate = 0.2
    config.batch_size = 16
    config.num_epochs = 60
    config.optimizer = 'adamw'
    config.learning_rate = 0.001
    config.schedule = 'cosine'
    config.warmup_epochs = 5.0
    config.weight_decay = 0.05
    config.grad_clip_norm = 1.0
    config.label_smoothing = 0.1
    config.early_stop_epochs = 15
    return config
