"""Every field, with the published protocol as default (Luna-Jiménez et al., ICMI 2023, doi 10.1145/3577190.3614143)."""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """The default config; other files import it and override a few fields."""
    config = ml_collections.ConfigDict()

    # --- Data
    # TFDS directory; the number of classes and the width of the input come from it.
    config.dataset = ''
    # Clips to validate on: 'from_file', 'from_train' (a stratified share of the training clips) or 'none'.
    config.validation = 'from_file'
    # Share of the training clips for 'from_train', in (0, 1).
    config.validation_fraction = 0.2
    # Train on this stratified share of the training clips, in (0, 1].
    config.train_fraction = 1.0

    # --- Input
    # Normalisation of the landmarks: 'none', 'spoter' or 'centred'.
    config.normalize = 'none'
    # Coordinates of each point: 'xy' or 'xyz'.
    config.coordinates = 'xy'
    # What missing points are fed as, before 0.5 is subtracted.
    config.missing_value = -2.0
    # Mean and standard deviation of the Gaussian noise on the training input.
    config.noise_mean = 0.0
    config.noise_std = 0.001

    # --- Model
    # 'spoter_pe', 'spoter_no_pe', 'class_query', 'sequence_query' or 'baseline'.
    config.model = 'class_query'
    # Attention heads; must divide the width of the input.
    config.num_heads = 10
    # Layers of the encoder, and of the decoder.
    config.num_layers = 6
    # Width of the feed-forward layers.
    config.mlp_dim = 2048
    # Dropout in the transformer, in [0, 1).
    config.dropout_rate = 0.1
    # Type of the computation: 'float32' or 'bfloat16'; parameters are float32.
    config.dtype = 'float32'

    # --- Training
    # Clips a step, over all devices of all machines together.
    config.batch_size = 1
    # Passes over the training clips.
    config.num_epochs = 350
    # Steps in all; where set, counts instead of num_epochs.
    config.num_steps = config_dict.placeholder(int)
    # Batches of clips of like lengths, mixed: half the padding or less, another order of clips.
    config.bucket_by_length = False
    # 'sgd', 'momentum' or 'adamw'.
    config.optimizer = 'sgd'
    # Of 'momentum'.
    config.momentum = 0.9
    config.learning_rate = 0.001
    # 'constant' or 'cosine' (to 0 at the last step).
    config.schedule = 'constant'
    # Epochs, or a part of one, in which the learning rate rises from 0.
    config.warmup_epochs = 0.0
    # On matrices only: decoupled for adamw, added to the gradient for the others.
    config.weight_decay = 0.0
    # Largest global norm of the gradient.
    config.grad_clip_norm = config_dict.placeholder(float)
    # In [0, 1).
    config.label_smoothing = 0.0
    # Stop after so many epochs without a better validation accuracy; several runs then take turns.
    config.early_stop_epochs = config_dict.placeholder(int)
    # Of initialisation, order, noise, dropout and the stratified shares.
    config.seed = 379

    # --- Several runs in one workdir
    # Runs with the seeds seed, seed + 1, ….
    config.num_seeds = 1
    # Or the seeds themselves: (0, 1, 2).
    config.seeds = config_dict.placeholder(tuple)
    # Every combination of these values, instead of the one above: (0.001, 0.0003).
    config.sweep = ml_collections.ConfigDict()
    config.sweep.learning_rate = config_dict.placeholder(tuple)
    config.sweep.dropout_rate = config_dict.placeholder(tuple)
    config.sweep.weight_decay = config_dict.placeholder(tuple)
    # Runs in one program; by default all on an accelerator, one after another on a CPU, which is faster there.
    config.runs_at_once = config_dict.placeholder(int)

    # --- Checkpoints
    # Keep the best by training and by validation accuracy of each 10 epochs, which the published protocol tests.
    config.keep_published_checkpoints = False
    return config
