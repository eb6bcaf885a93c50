"""Learned masks as data: weights of a model or of a published file, tables of them, and how well they find points."""

from collections.abc import Sequence
import csv
import dataclasses
from typing import Any

import numpy as np
import scipy.stats

from slr_jax import dataset as dataset_lib
from slr_jax import errors, file_limits, files, inference, models
from slr_jax import landmarks as landmarks_lib
from slr_jax.models import gates

# The models that have a learned mask, for messages.
WITH_MASK = 'class_query, sequence_query and conv_transformer'
# The false discovery rate up to which a weight is said to beat its shadows.
SIGNIFICANT = 0.1


@dataclasses.dataclass(frozen=True)
class Mask:
    """A learned mask, or another weight of every point.

    Attributes:
        name: encoder_mask or decoder_mask; of other weights, the ranking that they are of.
        weights: <float64>[points, axes]; where there is but one weight per point, [points, 1].
        layout: of the points.
        handedness: one of landmarks.HANDEDNESS.
        gates: <float64>[points, axes], how far those of the model are open at test, which is in the weights already;
            None where it has none.
        deviations: <float64>[points], of the mean over several runs the sample standard deviation of a point's weight.
        shadows: <float64>[points, axes], of a model that is fed shadows, the weights of these.
        q_values: <float64>[points], where there are shadows, what `shadow_test` says of each point.
    """

    name: str
    weights: np.ndarray
    layout: landmarks_lib.Layout
    handedness: str
    gates: np.ndarray | None = None
    deviations: np.ndarray | None = None
    shadows: np.ndarray | None = None
    q_values: np.ndarray | None = None

    @property
    def prefix(self) -> str:
        """Of the names of its files."""
        return 'decoder_' if self.name == models.DECODER_MASK else ''

    @property
    def is_learned(self) -> bool:
        """Whether the weights are parameters of a model."""
        return self.name in (models.ENCODER_MASK, models.DECODER_MASK)

    @property
    def point_weights(self) -> np.ndarray:
        """<float64>[points], the mean over a point's coordinates."""
        return self.weights.mean(axis=1)

    @property
    def point_gates(self) -> np.ndarray | None:
        """<float64>[points], the mean over a point's coordinates: 0 where the model does not see the point."""
        return None if self.gates is None else self.gates.mean(axis=1)

    @property
    def fed_weights(self) -> np.ndarray:
        """<float64>[fed points, axes], those of the shadows after the others."""
        return self.weights if self.shadows is None else np.concatenate([self.weights, self.shadows])

    @property
    def anatomical_order(self) -> tuple[int, ...]:
        """For each point, the point of the layout that it is on the signer: its name, group and position."""
        return landmarks_lib.anatomical_order(self.layout, self.handedness)

    @property
    def anatomical_weights(self) -> np.ndarray:
        """<float64>[points], the weight of each point of the layout on the signer."""
        return self.on_signer(self.point_weights)

    @property
    def significant(self) -> np.ndarray | None:
        """<bool>[points], whether a point's weight beats those of its shadows."""
        return None if self.q_values is None else self.q_values <= SIGNIFICANT

    def on_signer(self, values: np.ndarray) -> np.ndarray:
        """[points], a value per point of the data -> the same per point of the layout on the signer."""
        ordered = np.empty_like(values)
        ordered[list(self.anatomical_order)] = values
        return ordered


def model_masks(loaded: inference.LoadedModel) -> list[Mask]:
    """The learned masks of a model, times its gates at test where it has some; InputError where it has no mask."""
    masks = [_model_mask(loaded, name) for name in (models.ENCODER_MASK, models.DECODER_MASK) if name in loaded.params]
    if not masks:
        raise errors.InputError(f'the model is {loaded.config.model}, which has no learned mask; {WITH_MASK} have one')
    return masks


def _model_mask(loaded: inference.LoadedModel, name: str) -> Mask:
    weights = np.asarray(loaded.params[name], np.float64).reshape(loaded.fed_layout.num_points, -1)
    if models.GATES not in loaded.params:
        return make_mask(name, weights, loaded)
    opening = np.asarray(gates.opening(loaded.params[models.GATES]), np.float64).reshape(len(weights), -1)
    opening = np.broadcast_to(opening, weights.shape)
    mask = make_mask(name, weights * opening, loaded)
    return dataclasses.replace(mask, gates=opening[: mask.layout.num_points])


def make_mask(name: str, weights: np.ndarray, loaded: inference.LoadedModel) -> Mask:
    """The mask of a model, or a ranking of the points that it is fed, of which shadows are set apart.

    Args:
        name: see Mask.
        weights: <float64>[fed points * axes], or of several axes; shadows after the others.
        loaded: the model.
    """
    layout = landmarks_lib.without_shadows(loaded.fed_layout)
    weights = weights.reshape(loaded.fed_layout.num_points, -1)
    mask = Mask(name, weights[: layout.num_points], layout, loaded.description.handedness)
    if layout.num_points == len(weights):
        return mask
    mask = dataclasses.replace(mask, shadows=weights[layout.num_points :])
    return dataclasses.replace(mask, q_values=_q_values([mask]))


def _q_values(runs: Sequence[Mask]) -> np.ndarray | None:
    """`shadow_test` of the mean over runs; a negative weight of a mask counts as much as a positive one."""
    if runs[0].shadows is None:
        return None
    weights = [np.abs(mask.fed_weights) if mask.is_learned else mask.fed_weights for mask in runs]
    means = np.mean(weights, axis=(0, 2))
    num_points = runs[0].layout.num_points
    return shadow_test(means[:num_points], means[num_points:])


def shadow_test(importance: np.ndarray, shadows: np.ndarray) -> np.ndarray:
    """Which points matter more than shadows, tracks of other clips that cannot matter, do (Kursa & Rudnicki, 2010).

    The p-value of a point is (1 + the number of shadows that are as important or more) / (1 + the number of shadows);
    they are corrected for the number of points (Benjamini & Hochberg, 1995). With as many shadows as points no q-value
    can be below 0.1 unless about a tenth of the points beat all shadows.

    Args:
        importance: <float64>[points], more is more important.
        shadows: <float64>[shadows], at least one.

    Returns:
        <float64>[points], q-values: of the points up to a q-value, about that share is expected to be no better than
        shadows.
    """
    as_important = (shadows >= importance[:, None]).sum(axis=1)
    return scipy.stats.false_discovery_control((1 + as_important) / (1 + len(shadows)), method='bh')


def informative_points(description: dataset_lib.Description, layout: landmarks_lib.Layout) -> list[int] | None:
    """Of synthetic data, the points that differ between classes, as indices of the layout that is fed; else None."""
    if description.informative_points is None:
        return None
    points = landmarks_lib.LAYOUTS[description.layout].points
    names = {points[point] for point in description.informative_points}
    return [index for index, point in enumerate(layout.points) if point in names]


def mean_masks(masks_per_run: Sequence[Sequence[Mask]]) -> list[Mask]:
    """The mean over runs of each of their masks; InputError where they are not of one kind."""
    kinds = {
        tuple((x.name, x.layout.name, x.handedness, x.weights.shape, x.gates is None) for x in masks)
        for masks in masks_per_run
    }
    if len(kinds) > 1:
        raise errors.InputError(f'the runs have masks of {len(kinds)} kinds, expected one; interpret them one by one')
    return [_mean_mask(masks) for masks in zip(*masks_per_run, strict=True)]


def _mean_mask(masks: Sequence[Mask]) -> Mask:
    if len(masks) == 1:
        return masks[0]
    weights, num_points = np.mean([mask.fed_weights for mask in masks], axis=0), masks[0].layout.num_points
    opening = [mask.gates for mask in masks if mask.gates is not None]
    return dataclasses.replace(
        masks[0],
        weights=weights[:num_points],
        gates=np.mean(opening, axis=0) if opening else None,
        deviations=np.std([mask.point_weights for mask in masks], axis=0, ddof=1),
        shadows=weights[num_points:] if len(weights) > num_points else None,
        q_values=_q_values(masks),
    )


def spread_table(masks: Sequence[Mask], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per point: column, the signer's own point and group, mean and sample standard deviation, and each run.

    Of models with shadows also whether the mean beats them.
    """
    mean = _mean_mask(masks)
    weights = np.array([mask.point_weights for mask in masks])
    deviations = weights.std(axis=0, ddof=1) if len(masks) > 1 else np.zeros(weights.shape[1])
    return [
        {
            **_name_point(masks[0], point),
            'mean': weights[:, point].mean(),
            'std': deviations[point],
            **_significance(mean, point),
            **dict(zip(names, weights[:, point], strict=True)),
        }
        for point in range(weights.shape[1])
    ]


def read_mask_csv(path: str, handedness: str = 'swapped') -> Mask:
    """Reads a published weights file: `;`-separated, a header of point names, one row of weights.

    Raises:
        InputError: the file is missing or of another kind.
    """
    file_limits.check_regular(path)
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = [row for row in csv.reader(file, delimiter=';') if row]
    except (UnicodeDecodeError, csv.Error):
        raise errors.InputError(f'{path} is not a table, expected point names and weights, separated by ;') from None
    if len(rows) != 2:
        raise errors.InputError(f'{path} has {len(rows)} rows, expected a header of point names and one row of weights')
    layout = next((x for x in landmarks_lib.LAYOUTS.values() if list(x.point_columns) == rows[0]), None)
    if layout is None:
        raise errors.InputError(f'{path}: the {len(rows[0])} columns from {rows[0][0]!r} on are not those of a layout')
    try:
        weights = np.array(rows[1], np.float64)
    except ValueError as error:
        raise errors.InputError(f'{path}, row 2: {error}') from error
    if weights.size != layout.num_points or not np.isfinite(weights).all():
        raise errors.InputError(f'{path}, row 2: expected {layout.num_points} finite weights')
    return Mask(models.ENCODER_MASK, weights[:, None], layout, handedness)


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """How well scores set positives apart: the chance that a positive scores above a negative, ties half.

    Args:
        scores: <float>[n].
        positive: <bool>[n].

    Returns:
        In [0, 1], 0.5 for chance; NaN unless there are both.
    """
    if positive.all() or not positive.any():
        return float('nan')
    pairs = positive.sum() * (~positive).sum()
    return float(scipy.stats.mannwhitneyu(scores[positive], scores[~positive]).statistic / pairs)


def _ranks(weights: np.ndarray) -> np.ndarray:
    """1 for the largest; ties in their order."""
    return scipy.stats.rankdata(-weights, method='ordinal').astype(int)


def point_table(mask: Mask, informative_points: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """A row per point: column, the signer's own point and group, weight and rank.

    Of a model with gates also its gate, of a mean over runs the standard deviation, of a model with shadows whether it
    beats them, and of synthetic data whether it is informative.
    """
    rows, opening = [], mask.point_gates
    for point, rank in enumerate(_ranks(mask.point_weights)):
        row = {**_name_point(mask, point), 'weight': mask.point_weights[point], 'rank': rank}
        if opening is not None:
            row['gate'] = opening[point]
        if mask.deviations is not None:
            row['std'] = mask.deviations[point]
        row |= _significance(mask, point)
        rows.append(row if informative_points is None else row | {'informative': int(point in informative_points)})
    return rows


def _significance(mask: Mask, point: int) -> dict[str, Any]:
    if mask.q_values is None or mask.significant is None:
        return {}
    return {'q_value': mask.q_values[point], 'significant': int(mask.significant[point])}


def shadow_table(mask: Mask) -> list[dict[str, Any]]:
    """A row per shadow: column, the signer's own point and group that it is the shadow of, and weight."""
    shadows = np.zeros((0, 1)) if mask.shadows is None else mask.shadows
    return [{**_name_point(mask, point), 'weight': weight} for point, weight in enumerate(shadows.mean(axis=1))]


def _name_point(mask: Mask, point: int) -> dict[str, str]:
    layout, on_signer = mask.layout, mask.anatomical_order[point]
    return {
        'column': layout.point_columns[point],
        'point': layout.points[on_signer],
        'group': layout.group_of_point[on_signer],
    }


def coordinate_table(mask: Mask) -> list[dict[str, Any]]:
    """A row per coordinate: column, the signer's own point and group, axis, weight and rank, and its gate if any."""
    ranks = _ranks(mask.weights.ravel()).reshape(mask.weights.shape)
    rows = []
    for point, axis in np.ndindex(*mask.weights.shape):
        row: dict[str, Any] = {**_name_point(mask, point), 'axis': 'xyz'[axis]}
        row |= {'weight': mask.weights[point, axis], 'rank': ranks[point, axis]}
        rows.append(row if mask.gates is None else row | {'gate': mask.gates[point, axis]})
    return rows


def write_published(path: str, mask: Mask) -> None:
    """Writes the published format: a header of point names and one row of weights, `;` between them."""
    with files.atomic_write(path) as file:
        writer = csv.writer(file, delimiter=';', lineterminator='\n')
        writer.writerows([mask.layout.point_columns, mask.point_weights.tolist()])
