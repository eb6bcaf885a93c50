"""Time to parse a SPOTER-format CSV, compared with `ast.literal_eval` cell by cell, in one run.

python -m experiments.csv_parsing --csv=KSL13_train.csv --layout=mediapipe_hands_pose
"""

import ast
from collections.abc import Callable
import statistics
import time

from absl import flags
import numpy as np
import pandas as pd

from preprocessing.formats import spoter_csv
from slr_jax import cli, errors
from slr_jax import landmarks as landmarks_lib


def parse_cell_by_cell(path: str, layout: landmarks_lib.Layout) -> list[np.ndarray]:
    """What the published loaders do; <float64>[frames, points, 2] per clip."""
    table = pd.read_csv(path)
    columns = [column for column in layout.columns if column in table]
    try:
        cells = [[ast.literal_eval(table[column][row]) for column in columns] for row in range(len(table))]
    except (ValueError, SyntaxError):
        raise errors.InputError(f'{path} holds lists without commas, which ast.literal_eval cannot read') from None
    return [np.array(row).T.reshape(-1, len(columns) // 2, 2) for row in cells]


def _seconds(parse: Callable[[str, landmarks_lib.Layout], object], path: str, layout: landmarks_lib.Layout) -> float:
    start = time.perf_counter()
    parse(path, layout)
    return time.perf_counter() - start


def _define_flags() -> None:
    flags.DEFINE_string('csv', None, 'SPOTER-format CSV file.', required=True)
    flags.DEFINE_enum(
        'layout', None, sorted(landmarks_lib.LAYOUTS), 'Landmark layout whose columns the file has.', required=True
    )
    flags.DEFINE_integer('repetitions', 5, 'Number of times that each parser reads the file, in turn.', lower_bound=1)


def main() -> None:
    """Prints the times and their ratio."""
    layout = landmarks_lib.LAYOUTS[flags.FLAGS.layout]
    times = [
        (_seconds(spoter_csv.read_csv, flags.FLAGS.csv, layout), _seconds(parse_cell_by_cell, flags.FLAGS.csv, layout))
        for _ in range(flags.FLAGS.repetitions)
    ]
    ratios = [ours / theirs for ours, theirs in times]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f'ours {ours:.3f} s, ast.literal_eval {theirs:.3f} s (medians of {len(times)})')
    print(f'ratio {statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})')


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
