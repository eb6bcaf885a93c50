"""WLASL's JSON -> its tables as published, and clips tables.

    python -m preprocessing.wlasl --json=WLASL_v0.3.json --output_dir=O [--num_glosses=100,300,1000]

Writes O/WLASL_v0.3.csv and O/WLASL100_v0.3.csv, …, separated by ; as published, and for each a clips table that
the other commands read: O/clips_WLASL.csv, O/clips_WLASL100.csv, ….
"""

from collections.abc import Sequence
import os
from typing import Any

from absl import flags

from preprocessing import clips as clips_lib
from slr_jax import cli, errors, files
from slr_jax import dataset as dataset_lib

COLUMNS = (
    'gloss_number', 'gloss_name', 'instance_id', 'video_id', 'split', 'bbox', 'signer_id', 'variation_id', 'fps',
    'frame_start', 'frame_end', 'source', 'url',
)  # fmt: skip
SUBSETS = (100, 300, 1000)
_SPLITS = {'train': 'train', 'val': 'validation', 'test': 'test'}
_YOUTUBE_ID = 11
_EXPECTED: dict[str, tuple[Any, str]] = {
    'video_id': (str, 'text'), 'url': (str, 'text'), 'source': (str, 'text'), 'bbox': (list, 'a list'),
    'fps': ((int, float), 'a number'), 'frame_start': (int, 'a whole number'), 'frame_end': (int, 'a whole number'),
}  # fmt: skip

Row = dict[str, Any]


def read_wlasl(path: str) -> list[Row]:
    """Reads the JSON: one row per instance, with the published columns.

    Raises:
        InputError: the file is not a JSON list of glosses whose instances have all fields.
    """
    rows = []
    for number, entry in enumerate(files.read_json(path, kind=list)):
        if not isinstance(entry, dict) or not isinstance(entry.get('instances'), list) or 'gloss' not in entry:
            raise errors.InputError(f'{path}, entry {number}: expected an object with gloss and instances')
        if not isinstance(entry['gloss'], str):
            raise errors.InputError(f'{path}, entry {number}: gloss is {entry["gloss"]!r}, expected text')
        for instance in entry['instances']:
            where = f'{path}, gloss {entry["gloss"]!r}'
            rows.append(
                {'gloss_number': number, 'gloss_name': dataset_lib.tidy_gloss(entry['gloss'])}
                | _fields(where, instance)
            )
    if not rows:
        raise errors.InputError(f'{path} holds no instances of glosses')
    return rows


def _fields(where: str, instance: Any) -> Row:
    missing = [field for field in COLUMNS[2:] if not isinstance(instance, dict) or field not in instance]
    if missing:
        raise errors.InputError(f'{where}: an instance has no {missing[0]!r}')
    expected = {field: words for field, (kind, words) in _EXPECTED.items() if not isinstance(instance[field], kind)}
    if instance['split'] not in list(_SPLITS):
        expected['split'] = ', '.join(_SPLITS)
    for field, words in expected.items():
        raise errors.InputError(
            f'{where}, video {instance["video_id"]}: {field} is {instance[field]!r}, expected {words}'
        )
    return {field: instance[field] for field in COLUMNS[2:]}


def keep_glosses(rows: Sequence[Row], glosses: Sequence[str] | None, path: str) -> list[Row]:
    """Keeps the instances of some glosses, which are numbered anew in the order they had; None keeps all."""
    if glosses is None:
        return list(rows)
    found = dataset_lib.find_glosses({row['gloss_number']: row['gloss_name'] for row in rows}, glosses, path)
    numbers = {number: new for new, number in enumerate(found)}
    return [row | {'gloss_number': numbers[row['gloss_number']]} for row in rows if row['gloss_number'] in numbers]


def make_clip(row: Row, raw_videos: bool) -> clips_lib.Clip:
    """A row of the clips table.

    Args:
        row: of read_wlasl.
        raw_videos: whether the videos are as downloaded: named by their YouTube ids where they have one, and to be cut
            to frame_start and frame_end. If not, each clip has its own video, which is cut already.
    """
    from_youtube = 'youtube' in row['url'] or 'youtu.be' in row['url']
    name = row['url'][-_YOUTUBE_ID:] if raw_videos and from_youtube else row['video_id']
    cut = raw_videos and row['frame_end'] > 0
    return clips_lib.Clip(
        video_id=row['video_id'],
        file=f'{name}.mp4',
        label=row['gloss_number'],
        gloss=row['gloss_name'],
        split=_SPLITS[row['split']],
        signer_id=str(row['signer_id']),
        frame_start=row['frame_start'] if cut else 1,
        frame_end=row['frame_end'] if cut else clips_lib.TO_THE_END,
        fps=row['fps'],
        bbox=' '.join(map(str, row['bbox'])),
        source=row['source'],
    )


def _parse_subsets(values: Sequence[str] | None, path: str, num_glosses: int) -> list[int]:
    if values is None:
        return [subset for subset in SUBSETS if subset <= num_glosses]
    if not all(value.isdecimal() and 1 <= int(value) <= num_glosses for value in values):
        raise errors.InputError(
            f'--num_glosses={",".join(values)}, expected whole numbers from 1 to {num_glosses}, the glosses of {path}'
        )
    return [int(value) for value in values]


def _define_flags() -> None:
    flags.DEFINE_string('json', None, 'WLASL_v0.3.json of the WLASL start kit.', required=True)
    flags.DEFINE_string('output_dir', None, 'Directory for the tables.', required=True)
    clips_lib.define_glosses_flag()
    flags.adopt_module_key_flags(clips_lib)
    flags.DEFINE_list(
        'num_glosses', None, 'Sizes of the subsets, which have the first glosses each; default 100,300,1000.'
    )
    flags.DEFINE_bool(
        'raw_videos',
        False,
        "Whether the videos are as WLASL's video_downloader.py leaves them, named by YouTube ids and to be cut to "
        'frame_start and frame_end, and not one cut video per clip.',
    )


def main() -> None:
    """Writes the tables of all glosses and of each subset."""
    path, output_dir = flags.FLAGS.json, flags.FLAGS.output_dir
    rows = keep_glosses(read_wlasl(path), flags.FLAGS.glosses, path)
    num_glosses = rows[-1]['gloss_number'] + 1
    subsets = _parse_subsets(flags.FLAGS.num_glosses, path, num_glosses)
    sizes = {f'WLASL{size}': size for size in subsets} | {'WLASL': num_glosses}
    summaries = []
    with files.replace_files_in(output_dir) as scratch:
        for name, size in sizes.items():
            part = [row for row in rows if row['gloss_number'] < size]
            files.write_csv(
                os.path.join(scratch, f'{name}_v0.3.csv'), part, COLUMNS, delimiter=';', line_end='\n', is_data=True
            )
            clips = [make_clip(row, flags.FLAGS.raw_videos) for row in part]
            clips_lib.write_clips(os.path.join(scratch, f'clips_{name}.csv'), clips, path)
            summaries.append(clips_lib.summary(os.path.join(output_dir, f'clips_{name}.csv'), clips))
    print('\n'.join(summaries))


if __name__ == '__main__':
    cli.run_command(main, _define_flags)
