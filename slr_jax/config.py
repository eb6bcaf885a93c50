"""The config of a run: every field with its default and meaning, legal values, and the runs that one config asks for.

A new field is one line of `default_config`, with a range or choice below where not every value is legal. Workdirs of
older versions, whose config lacks it, load with its default.
"""

from collections.abc import Callable, Mapping
import dataclasses
import difflib
import itertools
import math
from typing import Any

import ml_collections
from ml_collections import config_dict

from slr_jax import errors

# What fields are called elsewhere.
_USUAL_NAMES = {
    name: field
    for field, names in {
        'learning_rate': 'lr rate step_size base_lr',
        'num_epochs': 'epochs epoch max_epochs n_epochs',
        'num_steps': 'steps max_steps iterations',
        'batch_size': 'bs batch batchsize',
        'weight_decay': 'wd l2 decay',
        'dropout_rate': 'dropout drop',
        'num_layers': 'layers depth n_layers',
        'num_heads': 'heads nhead n_heads',
        'mlp_dim': 'dim_feedforward ff_dim ffn_dim hidden_dim hidden_size',
        'width': 'd_model embed_dim',
        'model': 'arch architecture net backbone',
        'optimizer': 'optim opt',
        'schedule': 'scheduler lr_schedule lr_scheduler',
        'warmup_epochs': 'warmup warmup_steps',
        'grad_clip_norm': 'clip grad_clip gradient_clip clip_norm max_grad_norm',
        'label_smoothing': 'smoothing',
        'early_stop_epochs': 'patience early_stopping early_stop',
        'init_from': 'pretrained init finetune fine_tune weights checkpoint resume',
        'dataset': 'data data_dir data_path dataset_dir',
        'max_frames': 'max_len max_length max_seq_len',
        'num_frames': 'frames seq_len sequence_length',
        'num_folds': 'folds k_folds kfold',
        'dtype': 'precision fp16 bf16',
        'noise_std': 'noise',
        'normalize': 'norm normalization normalisation',
        'validation': 'val dev val_split',
        'validation_fraction': 'val_fraction',
        'augment.mirror': 'flip hflip',
        'augment.rotation': 'rotate',
    }.items()
    for name in names.split()
}


def default_config() -> ml_collections.ConfigDict:
    """Every field; the defaults are the published protocol (Luna-Jiménez et al., ICMI 2023)."""
    config = ml_collections.ConfigDict()
    _add_data(config)
    _add_input(config)
    # --- Augmentation of training clips, drawn anew for each clip and step: probabilities, and how far a change goes
    config.augment = _default_augmentation()
    _add_model(config)
    _add_training(config)
    _add_runs(config)
    return config


def _add_data(config: ml_collections.ConfigDict) -> None:
    # --- Data
    # TFDS directory; the number of classes and the width of the input come from it.
    config.dataset = ''
    # Clips to validate on: 'split' (the dataset's own), 'holdout' (a stratified part of the training clips) or 'none'.
    config.validation = 'split'
    # Fraction of the training clips that validation 'holdout' takes, in (0, 1).
    config.validation_fraction = 0.2
    # Validation clips that are copies of training clips: 'leave_out', 'warn' (all count) or 'refuse'.
    config.copies = 'leave_out'
    # Fraction of the training clips to train on, stratified, in (0, 1].
    config.train_fraction = 1.0
    # Folds of cross-validation, from 2, over training and validation clips together; None: none. Test clips stay.
    config.num_folds = config_dict.placeholder(int)
    # The fold to validate on, from 0; None: each in turn, as several runs of one workdir.
    config.fold = config_dict.placeholder(int)
    # What is in one fold only: 'signer' (all clips of one, where signers are known) or 'clip'.
    config.folds_by = 'signer'
    # Seed of the folds, apart from config.seed, so that runs with different seeds have the same folds.
    config.fold_seed = 0


def _add_input(config: ml_collections.ConfigDict) -> None:
    # --- Input
    # Normalization of the landmarks: 'none', 'spoter' or 'centered'. Where the dataset knows the shape of the pictures,
    # the latter two are given coordinates in which a person is the same in pictures of any shape.
    config.normalize = 'none'
    # Coordinates of each point: 'xy' or 'xyz'.
    config.coordinates = 'xy'
    # What a missing coordinate is fed as, in the numbers that the model sees; None: as published for the layout.
    config.missing_value = config_dict.placeholder(float)
    # Frames that are left out: 'none', 'ends' (before the first and after the last with a hand) or 'all' (without one).
    config.trim = 'none'
    # Frames of the longest gap of a point that is filled, linearly in time.
    config.interpolate_gaps = 0
    # Frames that the model sees of a clip, at most; None: all. Memory grows with the square of the longest clip.
    config.max_frames = config_dict.placeholder(int)
    # How longer clips are shortened: 'sample' (frames at even distances) or 'cut' (the frames in the middle).
    config.shorten = 'sample'
    # Frames that every clip is resampled to, linearly; None: none.
    config.num_frames = config_dict.placeholder(int)
    # Differences of each coordinate to the frames 1, 2, … later that are fed beside it, 0 where one is missing.
    config.differences = 0
    # Whether 1 is fed beside each coordinate where it is there, and 0 where it is missing.
    config.presence = False
    # Points that are fed, by the names of points or groups: ('right_hand', 'pose_nose'); None: all. Normalization sees
    # all of them.
    config.points = config_dict.placeholder(tuple)
    # Whether beside every point the track that it has in another clip is fed, as a point that cannot matter: what the
    # weights of a mask are compared with.
    config.shadow_points = False
    # Mean and standard deviation of the Gaussian noise on the training input.
    config.noise_mean = 0.0
    config.noise_std = 0.001


def _add_model(config: ml_collections.ConfigDict) -> None:
    # --- Model
    # Architecture: 'spoter_pe', 'spoter_no_pe', 'class_query', 'sequence_query', 'baseline' or 'conv_transformer'.
    config.model = 'class_query'
    # Attention heads; must divide the width of the input, of conv_transformer config.width.
    config.num_heads = 10
    # Layers of the encoder, and of the decoder; of conv_transformer stages, of convolutions and one transformer layer.
    config.num_layers = 6
    # Width of the feed-forward layers.
    config.mlp_dim = 2048
    # Dropout rate in the transformer, in [0, 1).
    config.dropout_rate = 0.1
    # Type of the computation: 'float32' or 'bfloat16'; parameters are float32.
    config.dtype = 'float32'
    # Stochastic gates on the input, beside the learned mask: 'none', one per 'point' or one per 'coordinate'.
    config.mask_gates = 'none'
    # Standard deviation of the noise on the gates in training, above 0.
    config.gate_std = 0.5
    # Of conv_transformer alone, as are the next six: width of the frames within the model.
    config.width = 128
    # Convolution blocks per stage.
    config.conv_blocks = 3
    # Frames of a convolution, odd.
    config.kernel_size = 9
    # How frames become one vector: 'class_query' (a decoder layer) or 'max_mean' (maximum and mean, side by side).
    config.pooling = 'class_query'
    # Fraction of the clips that skip a convolution block in training, in [0, 1).
    config.drop_path_rate = 0.0
    # Dropout rate of what the classifier reads, in [0, 1).
    config.late_dropout_rate = 0.0
    # Epochs, or a part of one, before that dropout begins.
    config.late_dropout_epoch = 0.0


def _add_training(config: ml_collections.ConfigDict) -> None:
    # --- Training
    # Clips per step, over all devices of all machines together.
    config.batch_size = 1
    # Devices that a CPU is divided into, each with a part of every batch, or some of the runs_at_once. One per core is
    # fastest where each has some 16 clips.
    config.cpu_devices = 1
    # Passes over the training clips.
    config.num_epochs = 350
    # Steps in all; where set, counts instead of num_epochs.
    config.num_steps = config_dict.placeholder(int)
    # Batches of clips of similar length, mixed: half the padding or less, another order of clips. On a CPU the batch of
    # the longest clips is computed in two pieces where that saves a fifth of its frames.
    config.bucket_by_length = False
    # Optimizer: 'sgd', 'momentum' or 'adamw'.
    config.optimizer = 'sgd'
    # Momentum of optimizer 'momentum', in [0, 1).
    config.momentum = 0.9
    # Learning rate, at its peak where there is a schedule or warm-up; above 0.
    config.learning_rate = 0.001
    # Schedule of the learning rate: 'constant' or 'cosine' (to 0 at the last step).
    config.schedule = 'constant'
    # Epochs, or a part of one, in which the learning rate rises from 0.
    config.warmup_epochs = 0.0
    # Weight decay of matrices: decoupled for adamw, added to the gradient for the others.
    config.weight_decay = 0.0
    # Clip gradients to this global norm; None: no clipping.
    config.grad_clip_norm = config_dict.placeholder(float)
    # Label smoothing, in [0, 1).
    config.label_smoothing = 0.0
    # Price of the mean |w| over the weights of the learned masks, beside the loss; 0: none.
    config.mask_l1 = 0.0
    # Price of the mean probability that a gate is open, beside the loss; 0: none.
    config.gate_price = 0.0
    # Learning rate of the gates, as a multiple of that of the other parameters.
    config.gate_rate = 20.0
    # Weights of the loss of training clips: 'none' or 'balanced' (each class as much in all; their mean is 1).
    config.class_weights = 'none'
    # Decay of an exponential average of the parameters, which validates and is the model, between 0 and 1; None: none.
    config.ema = config_dict.placeholder(float)
    # Early stopping after so many epochs without a better validation accuracy; None: none. Several runs take turns.
    config.early_stop_epochs = config_dict.placeholder(int)
    # Seed of initialization, order, noise, dropout and stratified splits.
    config.seed = 379

    # --- Fine-tuning
    # Workdir of a run or of an imported checkpoint, whose best parameters a new run begins with: those whose names and
    # shapes agree, of the classifier the classes of the same gloss; '': none.
    config.init_from = ''
    # Parameters that stay as they begin, by the beginning of their names or by patterns: ('encoder', 'mask', '*.bias').
    config.freeze = config_dict.placeholder(tuple)


def _add_runs(config: ml_collections.ConfigDict) -> None:
    # --- Several runs in one workdir
    # Seeds of several runs, instead of config.seed: (0, 1, 2).
    config.seeds = config_dict.placeholder(tuple)
    # Values of several runs, every combination, instead of the field of the same name: (0.001, 0.0003). These three
    # fields only, which a compiled program takes as arguments.
    config.sweep = ml_collections.ConfigDict()
    config.sweep.learning_rate = config_dict.placeholder(tuple)
    config.sweep.dropout_rate = config_dict.placeholder(tuple)
    config.sweep.weight_decay = config_dict.placeholder(tuple)
    # Runs in one program; None: all on an accelerator, one after another on a CPU, which is faster there.
    config.runs_at_once = config_dict.placeholder(int)

    # --- Checkpoints
    # Keep the best by training and by validation accuracy of each 10 epochs, which the published protocol tests.
    config.keep_published_checkpoints = False


def _default_augmentation() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    # A window of the clip, of at least this share of its frames.
    config.crop = 0.0
    config.crop_least = 0.75
    # A speed that changes smoothly, by at most this share.
    config.warp = 0.0
    config.warp_most = 0.5
    # Left and right exchanged, as in a mirror.
    config.mirror = 0.0
    # One of SPOTER's four: turned, tilted, squeezed, arms turned.
    config.spoter = 0.0
    # Each hand moved as a whole, by so many standard deviations of its points, and scaled about its wrist by at most.
    config.move_hands = 0.0
    config.hand_shift = 0.2
    config.hand_scale = 1.1
    # All points turned by at most so many degrees, scaled, stretched to another aspect and sheared by at most, and
    # moved by so many standard deviations of the clip's points.
    config.affine = 0.0
    config.rotation = 15.0
    config.scale = 1.25
    config.aspect = 1.1
    config.shear = 0.15
    config.shift = 0.15
    # Missing for a piece of the clip, of half to the whole of this share of its frames: all points, each hand, each
    # finger, each point.
    config.drop_frames = 0.0
    config.drop_frames_most = 0.4
    config.drop_hand = 0.0
    config.drop_hand_most = 0.4
    config.drop_finger = 0.0
    config.drop_finger_most = 1.0
    config.drop_point = 0.0
    config.drop_point_most = 1.0
    return config


# Fields of config.augment that are probabilities, and the number of the random key of each; a new one has a new number.
AUGMENTATIONS = {
    'crop': 0,
    'warp': 2,
    'mirror': 3,
    'spoter': 4,
    'move_hands': 5,
    'affine': 6,
    'drop_frames': 7,
    'drop_hand': 8,
    'drop_finger': 9,
    'drop_point': 10,
}
VALIDATIONS = ('split', 'holdout', 'none')
DTYPES = ('float32', 'bfloat16')
CLASS_WEIGHTS = ('none', 'balanced')
_MAX_FOLDS = 1000


def _choices() -> dict[str, Any]:
    """Field -> its legal values."""
    # Imported here, so that a mistyped flag need not wait for jax.
    from slr_jax import features, folds, frames, models, normalize, split_copies, train_step

    return {
        'validation': VALIDATIONS,
        'copies': split_copies.POLICIES,
        'folds_by': folds.BY,
        'normalize': normalize.METHODS,
        'coordinates': features.COORDINATES,
        'trim': frames.TRIMMINGS,
        'shorten': frames.SHORTENINGS,
        'model': models.MODELS,
        'dtype': DTYPES,
        'mask_gates': models.GATE_KINDS,
        'pooling': models.POOLINGS,
        'optimizer': train_step.OPTIMIZERS,
        'schedule': train_step.SCHEDULES,
        'class_weights': CLASS_WEIGHTS,
    }


_AT_LEAST_0 = (lambda x: x >= 0, 'at least 0')
_AT_LEAST_1 = (lambda x: x >= 1, 'at least 1')
# Sizes that no model or clip needs, refused before memory is asked for.
_SIZE = (lambda x: 1 <= x <= 2**16, 'from 1 to 65,536')
_COUNT = (lambda x: 1 <= x <= 1000, 'from 1 to 1,000')
_FROM_0_BELOW_1 = (lambda x: 0 <= x < 1, 'from 0 to below 1')
_ABOVE_0 = (lambda x: x > 0, 'above 0')
_ABOVE_0_TO_1 = (lambda x: 0 < x <= 1, 'above 0 and at most 1')
_PROBABILITY = (lambda x: 0 <= x <= 1, 'from 0 to 1')

# Field -> check of a value that is not None, and what it expects.
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    'validation_fraction': (lambda x: 0 < x < 1, 'between 0 and 1'),
    'train_fraction': _ABOVE_0_TO_1,
    'interpolate_gaps': _AT_LEAST_0,
    'max_frames': _AT_LEAST_1,
    'num_frames': (lambda x: 1 <= x <= 4096, 'from 1 to 4,096'),
    'differences': (lambda x: 0 <= x <= 10, 'from 0 to 10'),
    'noise_std': _AT_LEAST_0,
    **{f'augment.{name}': _PROBABILITY for name in AUGMENTATIONS},
    **{f'augment.{name}': _AT_LEAST_1 for name in ('scale', 'aspect', 'hand_scale')},
    **{f'augment.{name}': _AT_LEAST_0 for name in ('rotation', 'shear', 'shift', 'hand_shift')},
    **{f'augment.{name}_most': _ABOVE_0_TO_1 for name in AUGMENTATIONS if name.startswith('drop_')},
    'augment.crop_least': _ABOVE_0_TO_1,
    'augment.warp_most': _FROM_0_BELOW_1,
    'num_heads': _COUNT,
    'num_layers': _COUNT,
    'mlp_dim': _SIZE,
    'dropout_rate': _FROM_0_BELOW_1,
    'gate_std': _ABOVE_0,
    'width': _SIZE,
    'conv_blocks': _COUNT,
    'kernel_size': (lambda x: 1 <= x < 1000 and x % 2, 'an odd number from 1 to 999'),
    'drop_path_rate': _FROM_0_BELOW_1,
    'late_dropout_rate': _FROM_0_BELOW_1,
    'late_dropout_epoch': _AT_LEAST_0,
    'batch_size': _SIZE,
    'cpu_devices': _COUNT,
    'num_epochs': _AT_LEAST_1,
    'num_steps': _AT_LEAST_1,
    'momentum': _FROM_0_BELOW_1,
    'learning_rate': _ABOVE_0,
    'warmup_epochs': _AT_LEAST_0,
    'weight_decay': _AT_LEAST_0,
    'grad_clip_norm': _ABOVE_0,
    'label_smoothing': _FROM_0_BELOW_1,
    'mask_l1': _AT_LEAST_0,
    'gate_price': _AT_LEAST_0,
    'gate_rate': _ABOVE_0,
    'ema': (lambda x: 0 < x < 1, 'between 0 and 1'),
    'early_stop_epochs': _AT_LEAST_1,
    'seed': (lambda x: 0 <= x < 2**32, 'from 0 to below 2**32'),
    'fold_seed': (lambda x: 0 <= x < 2**32, 'from 0 to below 2**32'),
    'runs_at_once': _AT_LEAST_1,
}

# Values of slr_jax 0.1.0 -> the same now.
_OLD_VALUES = {
    'validation': {'from_file': 'split', 'from_train': 'holdout'},
    'normalize': {'centred': 'centered'},
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a config.

    Attributes:
        name: of its folder in the workdir; '' for the only run, whose workdir it is.
        swept: its values of the swept fields.
        config: with which it would be trained alone.
    """

    name: str
    swept: Mapping[str, float]
    config: ml_collections.ConfigDict

    @property
    def is_only(self) -> bool:
        """Whether it is the only run of its workdir."""
        return not self.name


def expand(config: ml_collections.ConfigDict) -> list[Run]:
    """The runs of a config, every combination of swept values, folds and seeds, each with its config checked.

    Args:
        config: as `resolve` returns it.

    Raises:
        InputError: a value is not legal; the field is named.
    """
    seeds = (config.seed,) if config.seeds is None else tuple(config.seeds)
    sweep = {field: tuple(values) for field, values in config.sweep.items() if values is not None}
    _check_unique_numbers('seeds', seeds, int)
    for field, values in sweep.items():
        _check_unique_numbers(f'sweep.{field}', values, (int, float))
    folds = _folds(config)
    runs = []
    for values in itertools.product(*sweep.values()):
        swept = dict(zip(sweep, map(float, values), strict=True))
        for fold, seed in itertools.product(folds, seeds):
            words = [f'{field}={value}' for field, value in swept.items()]
            words += [f'fold_{fold}'] if len(folds) > 1 else []
            run_config = _config_of_one_run(config, {**swept, 'fold': fold}, seed)
            runs.append(Run(','.join([*words, f'seed_{seed}']), swept, run_config))
    for run in runs:
        _check(run.config)
    if config.early_stop_epochs and min(config.runs_at_once or 1, len(runs)) > 1:
        raise errors.InputError('config.early_stop_epochs is set, which needs config.runs_at_once = 1')
    if config.cpu_devices > max(config.batch_size, config.runs_at_once or 1):
        raise errors.InputError(
            f'config.cpu_devices is {config.cpu_devices}, expected at most config.batch_size, {config.batch_size}, or '
            'config.runs_at_once'
        )
    if config.seeds is None and not sweep and len(folds) == 1:
        return [dataclasses.replace(runs[0], name='')]
    return runs


def _folds(config: ml_collections.ConfigDict) -> tuple[int | None, ...]:
    """The fold of each run; None without cross-validation."""
    num_folds, fold = config.num_folds, config.fold
    if num_folds is None:
        if fold is not None:
            raise errors.InputError(f'config.fold is {fold}, which needs config.num_folds')
        return (None,)
    if not 2 <= num_folds <= _MAX_FOLDS:
        raise errors.InputError(f'config.num_folds is {num_folds}, expected from 2 to {_MAX_FOLDS}')
    if config.validation != 'split':
        raise errors.InputError(
            f'config.validation is {config.validation!r}, but config.num_folds validates on folds; expected one of them'
        )
    if fold is None:
        return tuple(range(num_folds))
    if not 0 <= fold < num_folds:
        raise errors.InputError(f'config.fold is {fold}, expected from 0 to {num_folds - 1} for {num_folds} folds')
    return (fold,)


def _check_unique_numbers(field: str, values: tuple[Any, ...], kind: Any) -> None:
    expected = 'whole numbers' if kind is int else 'numbers'
    if not values or not all(isinstance(value, kind) for value in values):
        raise errors.InputError(f'config.{field} is {values}, expected {expected}, at least one')
    if len(set(values)) < len(values):
        raise errors.InputError(f'config.{field} is {values}, expected values without duplicates')


def _config_of_one_run(
    config: ml_collections.ConfigDict, fields: Mapping[str, Any], seed: int
) -> ml_collections.ConfigDict:
    config = config.copy_and_resolve_references()
    config.seed, config.seeds = seed, None
    for field in config.sweep:
        config.sweep[field] = None
    config.update(fields)
    return config


def _check(config: ml_collections.ConfigDict) -> None:
    if not config.dataset:
        raise errors.InputError('config.dataset is not set, expected a TFDS directory')
    check_values(config)


def check_values(config: ml_collections.ConfigDict) -> None:
    """Raises InputError, naming the field, where the values of one run are not legal; it need not have a dataset."""
    for field, allowed in _choices().items():
        if config[field] not in allowed:
            raise errors.InputError(f'config.{field} is {config[field]!r}, expected one of {", ".join(allowed)}')
    values = {**config, **{f'augment.{field}': value for field, value in config.augment.items()}}
    for field, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise errors.InputError(f'config.{field} is {value}, expected a finite number')
    for field, (is_legal, expected) in _RANGES.items():
        if values[field] is not None and not is_legal(values[field]):
            raise errors.InputError(f'config.{field} is {values[field]}, expected {expected}')
    augmented = [name for name in AUGMENTATIONS if config.augment[name]]
    if config.shadow_points and augmented:
        raise errors.InputError(f'config.shadow_points is True, which needs config.augment.{augmented[0]} = 0.0')
    if config.early_stop_epochs and config.validation == 'none':
        raise errors.InputError("config.early_stop_epochs needs validation clips, but config.validation is 'none'")
    _check_mask_options(config)


def _check_mask_options(config: ml_collections.ConfigDict) -> None:
    """Refuses what would act on a mask or gates that the model lacks."""
    from slr_jax import models

    if config.gate_price and config.mask_gates == 'none':
        raise errors.InputError(f"config.gate_price is {config.gate_price}, but config.mask_gates is 'none'")
    options = {field: config[field] for field in ('mask_gates', 'mask_l1') if config[field] not in ('none', 0)}
    if options and not models.has_mask(config.model):
        field, value = next(iter(options.items()))
        expected = ', '.join(name for name in models.MODELS if models.has_mask(name))
        raise errors.InputError(
            f'config.{field} is {value!r}, but config.model is {config.model!r}, which has no learned mask; expected '
            f'one of {expected}'
        )


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config with the defaults of fields that it lacks, and old values under their names of now.

    Raises:
        InputError: it is not a config, has a field that is not one of `default_config`, or a value of another type.
    """
    try:
        return _update_default(config.copy_and_resolve_references().to_dict())
    except AttributeError:
        kind = type(config).__name__
        raise errors.InputError(
            f'the config is a {kind}, expected an ml_collections.ConfigDict, as default_config() is'
        ) from None
    except TypeError as error:
        raise errors.InputError(f'the config cannot be used: {errors.one_line(error)}') from error


def describe_unknown(path: str) -> str:
    """The sentence about a field that there is not, such as `lr` or `augment.rotaton`, with the nearest."""
    nearest = nearest_field(path)
    hint = f'did you mean config.{nearest}?' if nearest else 'slr_jax/config.py lists all fields'
    return f'config.{path} is not a field of a config; {hint}'


def nearest_field(path: str) -> str | None:
    """The field that a name stands for: itself, another usual name, or the most similar; None where none is near."""
    paths = [known for known in field_paths() if known not in ('augment', 'sweep')]
    leaves = {known.rpartition('.')[2]: known for known in reversed(paths)}
    names = _USUAL_NAMES | leaves | {known: known for known in paths}
    name = path.lower().replace('-', '_')
    group, _, leaf = name.rpartition('.')
    near = difflib.get_close_matches(leaf, names, n=1)
    found = next((names[word] for word in (name, leaf, *near) if word in names), '')
    return f'{group}.{found}' if f'{group}.{found}' in paths else found or None


def field_paths() -> list[str]:
    """Every field, those of augment and sweep with their prefix, such as `augment.rotation`."""
    config = default_config()
    nested = [f'{name}.{field}' for name in ('augment', 'sweep') for field in config[name]]
    return [*config, *nested]


def _update_default(fields: Mapping[str, Any]) -> ml_collections.ConfigDict:
    config, fields = default_config(), _without_retired(fields)
    nested = [(config[name], fields.get(name, ()), f'config.{name}') for name in ('augment', 'sweep')]
    for known, given, prefix in [(config, fields, 'config'), *nested]:
        for field in given:
            if field not in known:
                raise errors.InputError(describe_unknown(f'{prefix}.{field}'.removeprefix('config.')))
    config.update(fields)
    for field, renamed in _OLD_VALUES.items():
        config[field] = renamed.get(config[field], config[field])
    return config


def _without_retired(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without those that older versions had; InputError where they were used."""
    augment = dict(fields.get('augment', {}))
    stretch, _ = augment.pop('stretch', 0.0), augment.pop('stretch_most', None)
    if stretch:
        raise errors.InputError(
            f'config.augment.stretch is {stretch}, but is no longer a field; config.augment.warp changes the '
            'speed of clips and config.augment.crop their length'
        )
    return {**fields, 'augment': augment} if 'augment' in fields else dict(fields)


def from_json(fields: Mapping[str, Any], *, is_old: bool) -> ml_collections.ConfigDict:
    """A config that was saved by this version or an older one; fields that it lacks have their default.

    Args:
        fields: of the saved config.
        is_old: saved by slr_jax 0.1.0, where `missing_value` was given before 0.5 was subtracted, and `num_seeds` was
            another way to give seeds.

    Raises:
        Exception: of several kinds, for damaged fields; InputError where a value is not legal.
    """
    fields = dict(fields)
    if is_old:
        num_seeds = fields.pop('num_seeds', 1)
        if num_seeds > 1:
            fields['seeds'] = tuple(range(fields['seed'], fields['seed'] + num_seeds))
        if 'missing_value' in fields:
            fields['missing_value'] -= 0.5
    config = _update_default(fields)
    check_values(config)
    return config
