"""Answers to clips: the model that gives them, and how they are written, as a table and as JSON lines."""

from collections.abc import Iterable, Sequence
import dataclasses
import json
from typing import Any

import numpy as np

from slr_jax import checkpoint as checkpoint_lib
from slr_jax import errors, frame_sizes, inference
from slr_jax import workdir as workdir_lib


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says of a clip.

    Attributes:
        clip: its name.
        likeliest: glosses and their probabilities, likeliest first.
        true_gloss: None where it is not known.
    """

    clip: str
    likeliest: Sequence[tuple[str, float]]
    true_gloss: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON line has it: `clip`, `answers` (each a gloss and its probability), `true_gloss` where known."""
        answers = [{'gloss': gloss, 'probability': round(value, 6)} for gloss, value in self.likeliest]
        known = {} if self.true_gloss is None else {'true_gloss': self.true_gloss}
        return {'clip': self.clip, 'answers': answers, **known}


def load(workdir: str, checkpoint: str = 'best', *, mean_of_runs: bool = False) -> inference.Predictor:
    """Loads what answers: the model of a run, or all runs of a workdir together.

    Raises:
        InputError: see checkpoint.load_model and load_mean_of_runs; or the workdir holds several runs and
            `mean_of_runs` is not given.
    """
    if mean_of_runs:
        return checkpoint_lib.load_mean_of_runs(workdir, checkpoint)
    entries = workdir_lib.read_index(workdir)
    if entries:
        raise errors.InputError(
            f'{workdir} holds {len(entries)} runs, expected one of them, such as '
            f'{workdir_lib.run_path(workdir, entries[0].name)}, or --mean_of_runs, with which they answer together'
        )
    return checkpoint_lib.load_model(workdir, checkpoint)


def answer(
    model: inference.Predictor,
    names: Sequence[str],
    landmarks: Sequence[np.ndarray],
    true_glosses: Sequence[str | None],
    k: int = 5,
    frame_size: frame_sizes.FrameSizes = None,
) -> list[Answer]:
    """The answers to clips.

    Args:
        model: what answers.
        names: of the clips.
        landmarks: <float32>[frames, points, 3] of each clip, in the layout of the model.
        true_glosses: of each clip, None where not known.
        k: how many glosses.
        frame_size: of the pictures, see Predictor.predict.

    Raises:
        InputError: see Predictor.probabilities.
    """
    probabilities = model.probabilities(landmarks, names, frame_size)
    likeliest = inference.likeliest(probabilities, model.description.label_names, k)
    return [Answer(*fields) for fields in zip(names, likeliest, true_glosses, strict=True)]


def format_percent(probability: float) -> str:
    """`93.1 %`."""
    return f'{probability:.1%}'.replace('%', ' %')


def format_gloss(gloss: str | None, probability: float) -> str:
    """`book 93.1 %`, or `no sign` for None."""
    return 'no sign' if gloss is None else f'{gloss} {format_percent(probability)}'


def format_table(answers: Sequence[Answer]) -> str:
    """A table with a line per clip: its name, where any is known its true gloss, and glosses with probabilities."""
    has_truth = any(answer.true_gloss is not None for answer in answers)
    header = ['clip', *['true gloss'] * has_truth, *map(str, range(1, 1 + max(len(x.likeliest) for x in answers)))]
    rows = [
        [
            answer.clip,
            *[answer.true_gloss or ''] * has_truth,
            *(f'{gloss} {format_percent(probability)}' for gloss, probability in answer.likeliest),
        ]
        for answer in answers
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ['  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return '\n'.join(line.rstrip() for line in lines)


def write_json_lines(path: str, objects: Iterable[dict[str, Any]]) -> None:
    """Writes an object per line."""
    with open(path, 'w', encoding='utf-8') as file:
        file.writelines(json.dumps(each, ensure_ascii=False) + '\n' for each in objects)
