"""Tables of videos of many shapes."""

import io
import json

import numpy as np
import pytest

from preprocessing import clips as clips_lib
from preprocessing import video_tables
from tests import in_process


@pytest.fixture
def videos(tmp_path):
    def make(*paths):
        for path in paths:
            (tmp_path / 'videos' / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / 'videos' / path).touch()

    return make


@pytest.fixture
def convert(tmp_path, capfd, monkeypatch):
    """Writes and converts tables; returns file, label, gloss, split, signer, start, end of the clips, and stdout."""

    def run(*options, **tables):
        paths = []
        for name, content in tables.items():
            path = tmp_path / name.replace('__', '.')
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding='utf-8')
            paths.append(str(path))
        output = tmp_path / 'clips.csv'
        given = [option.format(d=tmp_path) for option in options]
        argv = [f'--table={",".join(paths)}', f'--videos={tmp_path}/videos', f'--output={output}', *given]
        printed = io.StringIO()
        monkeypatch.setattr('sys.stdout', printed)
        status, stderr = in_process.run_here(['preprocessing.clips_from_table', *argv], capfd, monkeypatch)
        if status:
            in_process.check_refusal(status, stderr, [])
            return None, stderr.replace(str(tmp_path), '')
        rows = [
            (clip.file, clip.label, clip.gloss, clip.split, clip.signer_id, clip.frame_start, clip.frame_end)
            for clip in clips_lib.read_clips(str(output))
        ]
        return rows, printed.getvalue().replace(str(tmp_path), '')

    return run


ALL_IN_TRAIN = ('--validation=0', '--test=0')


@pytest.mark.parametrize('sep', [',', ';', '\t', '|'])
def test_usual_names_of_columns(convert, videos, sep):
    videos('a.mp4', 'deep/b.MOV', 'c.mp4')
    lines = (
        ['\ufefffilename', 'sign', 'subset', 'Signer ID'],
        ['a', 'thanks', 'train', '1.0'],
        ['b.mov', 'hello', 'val', ''],
    )
    rows, said = convert(signs__csv='\n'.join(sep.join(line) for line in [*lines, ['c.mp4', 'hello', 'test', 'x']]))
    assert rows == [
        ('a.mp4', 1, 'thanks', 'train', '1', 1, -1),
        ('deep/b.MOV', 0, 'hello', 'validation', '', 1, -1),
        ('c.mp4', 0, 'hello', 'test', 'x', 1, -1),
    ]
    assert '/signs.csv: 3 rows; file = filename, gloss = sign, split = subset, signer = Signer ID' in said


def test_autsl(convert, videos, tmp_path):
    """No header, labels, one file per split, and videos with more in their names."""
    samples = ['signer0_sample1', 'signer0_sample2', 'signer1_sample1', 'signer11_sample1']
    videos(*(f'{name}_{kind}.mp4' for name in samples for kind in ('color', 'depth')))
    (tmp_path / 'classes.csv').write_text('ClassId,TR,EN\n0,abla,sister\n1,acele,hurry\n2,acikmak,hungry\n')
    tables = {
        'train_labels__csv': 'signer0_sample1,2\nsigner0_sample2,1\n',
        'val_labels__csv': 'signer1_sample1,1\n',
        'test_labels__csv': 'signer11_sample1,2',
    }
    options = ['--file_format={{}}_color.mp4', '--pattern=^(?P<signer>signer[0-9]+)_', '--glosses_file={d}/classes.csv']
    expected = [
        ('signer0_sample1_color.mp4', 1, 'acikmak', 'train', 'signer0', 1, -1),
        ('signer0_sample2_color.mp4', 0, 'acele', 'train', 'signer0', 1, -1),
        ('signer1_sample1_color.mp4', 0, 'acele', 'validation', 'signer1', 1, -1),
        ('signer11_sample1_color.mp4', 1, 'acikmak', 'test', 'signer11', 1, -1),
    ]
    rows, said = convert(*options, **tables)
    assert rows == expected
    assert 'passed over, not in a table: 4 (signer0_sample1_depth.mp4, ' in said
    rows, said = convert(*options, '--file_column=1', '--label_column=2', '--split=train,dev,test', **tables)
    assert rows == expected, said
    rows, _ = convert(options[0], *ALL_IN_TRAIN, labels__csv=tables['train_labels__csv'])
    assert [row[1:3] for row in rows] == [(1, '2'), (0, '1')]


def test_slovo(convert, videos):
    """Tabs, a column that says whether a video is for training, and frames."""
    videos('0a-b.mp4', '1c-d.mp4')
    table = (
        'attachment_id\ttext\tuser_id\theight\twidth\tlength\ttrain\tbegin\tend\n'
        '0a-b\tПривет, ты\tf00\t1920\t1080\t66.0\tTrue\t24\t51\n1c-d\tб\tf01\t1920\t1080\t48.0\tFalse\t7\t42\n'
    )
    rows, said = convert('--validation=0', annotations__csv=table)
    assert rows == [
        ('0a-b.mp4', 0, 'Привет, ты', 'train', 'f00', 24, 51),
        ('1c-d.mp4', 1, 'б', 'test', 'f01', 7, 42),
    ]
    assert '--whole_videos' in said
    rows, _ = convert('--validation=0', '--whole_videos', annotations__csv=table)
    assert [row[5:] for row in rows] == [(1, -1), (1, -1)]
    rows, _ = convert('--validation=0', '--end_column=', annotations__csv=table)
    assert [row[5:] for row in rows] == [(24, -1), (7, -1)]


def test_asl_citizen(convert, videos):
    videos('videos/1-APPLE.mp4', 'videos/2-APPLE.mp4', 'videos/3-BED 2.mp4')
    header = 'Participant ID,Video file,Gloss,ASL-LEX Code\n'
    rows, _ = convert(
        train__csv=header + 'P52,1-APPLE.mp4,APPLE,A_01\nP52,3-BED 2.mp4,BED2,B_02',
        val__csv=header + 'P1,2-APPLE.mp4,APPLE,A_01',
    )
    assert rows == [
        ('videos/1-APPLE.mp4', 0, 'APPLE', 'train', 'P52', 1, -1),
        ('videos/3-BED 2.mp4', 1, 'BED2', 'train', 'P52', 1, -1),
        ('videos/2-APPLE.mp4', 0, 'APPLE', 'validation', 'P1', 1, -1),
    ]


def test_include(convert, videos):
    """A list of paths that hold the gloss, and a table with such paths from another computer."""
    videos('Adjectives/1. loud/MVI_5177.MOV', 'Adjectives/2. quiet/MVI_5178.MOV', 'Animals/1. dog/MVI_5177.MOV')
    rows, _ = convert(
        r'--pattern=/\d+\. (?P<gloss>[^/]+)/',
        train_include__txt='Adjectives/1. loud/MVI_5177.MOV\nAdjectives/2. quiet/MVI_5178.MOV\n',
        test_include__txt='Animals/1. dog/MVI_5177.MOV\n',
    )
    assert [row[:4] for row in rows] == [
        ('Adjectives/1. loud/MVI_5177.MOV', 1, 'loud', 'train'),
        ('Adjectives/2. quiet/MVI_5178.MOV', 2, 'quiet', 'train'),
        ('Animals/1. dog/MVI_5177.MOV', 0, 'dog', 'test'),
    ]
    table = 'FilePath,Word\nC:\\data\\Adjectives\\1. loud\\MVI_5177.mov,Loud\n/x/Animals/1. dog/MVI_5177,Dog\n'
    rows, _ = convert(*ALL_IN_TRAIN, include__csv=table)
    assert [row[:3] for row in rows] == [
        ('Adjectives/1. loud/MVI_5177.MOV', 1, 'Loud'),
        ('Animals/1. dog/MVI_5177.MOV', 0, 'Dog'),
    ]


def test_nslt(convert, videos, tmp_path):
    videos('05237.mp4', '69422.mp4')
    (tmp_path / 'classes.txt').write_text('0\tbook\n1\tdrink\n2\tthank you\n')
    content = {
        '05237': {'subset': 'train', 'action': [2, 1, 55]},
        '69422': {'subset': 'val', 'action': [0, 583, -1]},
        '00001': {'subset': 'test', 'action': [1, 1, 20]},
    }
    rows, said = convert('--glosses_file={d}/classes.txt', nslt_100__json=content)
    assert rows == [
        ('05237.mp4', 1, 'thank you', 'train', '', 1, 55),
        ('69422.mp4', 0, 'book', 'validation', '', 583, -1),
    ]
    assert 'passed over, not in /videos: 1 (00001)' in said
    rows, _ = convert('--glosses_file={d}/classes.txt', '--glosses=book', nslt_100__json=content)
    assert [row[:4] for row in rows] == [('69422.mp4', 0, 'book', 'validation')]


def test_other_json(convert, videos):
    videos('a.mp4', 'b.mp4')
    rows, _ = convert(*ALL_IN_TRAIN, map__json={'a.mp4': 'hello', 'b.mp4': 'thanks'})
    assert [row[:3] for row in rows] == [('a.mp4', 0, 'hello'), ('b.mp4', 1, 'thanks')]
    rows, _ = convert(*ALL_IN_TRAIN, mark__json='\ufeff{"a": "hello"}')
    assert [row[:3] for row in rows] == [('a.mp4', 0, 'hello')]
    items = [
        {'file': 'b', 'label': 3, 'clean_text': 'x', 'start': 0, 'end': 9},
        {'file': 'a', 'label': 1, 'clean_text': 'y'},
    ]
    rows, _ = convert(*ALL_IN_TRAIN, list__json=items)
    assert [row[:3] + row[5:] for row in rows] == [('b.mp4', 1, 'x', 1, 10), ('a.mp4', 0, 'y', 1, -1)]


def test_several_clips_of_a_video_and_folders_of_frames(convert, videos, tmp_path):
    videos('34870/00001.jpg', '34870/00002.jpg', 'long.mp4')
    table = 'video,label,start,end\n34870,3,,\nlong,3,1,20\nlong,7,21.0,40\nlong,7,41,\n'
    rows, _ = convert(*ALL_IN_TRAIN, t__csv=table)
    assert rows == [
        ('34870', 0, '3', 'train', '', 1, -1),
        ('long.mp4', 0, '3', 'train', '', 1, 20),
        ('long.mp4', 1, '7', 'train', '', 21, 40),
        ('long.mp4', 1, '7', 'train', '', 41, -1),
    ]
    names = [clip.video_id for clip in clips_lib.read_clips(str(tmp_path / 'clips.csv'))]
    assert names == ['34870', 'long_000001_000020', 'long_000021_000040', 'long_000041_end']


MS_ASL = {
    'org_text': 'like', 'clean_text': 'like', 'text': 'like', 'label': 7, 'start': 10, 'end': 51, 'signer_id': 12,
    'signer': 3, 'start_time': 0.4, 'end_time': 2.04, 'file': 'SIGN LANGUAGE 1', 'height': 360.0, 'width': 640.0,
    'fps': 25.0, 'url': 'https://www.youtube.com/watch?v=aB3dE-6_hIj', 'box': [0.04, 0.3312, 1.0, 1e-05],
}  # fmt: skip


def test_ms_asl(convert, videos, tmp_path):
    """Addresses, seconds that are preferred to frames, several clips of a video, and boxes."""
    videos('aB3dE-6_hIj.mp4', '-L9mN_2-pQr.webm', 'missing_it_.txt')
    other = MS_ASL | {'text': 'match', 'label': 2, 'start_time': 3.0, 'end_time': 4.0}
    train = [MS_ASL, other, MS_ASL | {'url': 'youtu.be/missing_it_'}]
    test = [other | {'url': 'www.youtube.com/watch?t=3s&v=-L9mN_2-pQr', 'signer': 5}]
    rows, said = convert(*ALL_IN_TRAIN, MSASL_train__json=train, MSASL_test__json=test)
    assert rows == [
        ('aB3dE-6_hIj.mp4', 1, 'like', 'train', '3', 11, 51),
        ('aB3dE-6_hIj.mp4', 0, 'match', 'train', '3', 76, 100),
        ('-L9mN_2-pQr.webm', 0, 'match', 'test', '5', 76, 100),
    ]
    assert 'file = url, gloss = text' in said
    assert 'start = start_time, end = end_time' in said
    assert 'seconds; --whole_videos' in said
    assert 'passed over, not in /videos: 1 (youtu.be/missing_it_)' in said
    clips = clips_lib.read_clips(str(tmp_path / 'clips.csv'))
    assert {clip.bbox for clip in clips} == {'0.3312 0.0400 0.0000 1.0000'}
    assert len({clip.video_id for clip in clips}) == 3


@pytest.mark.parametrize(
    'address',
    [
        'https://www.youtube.com/watch?v=aB3dE-6_hIj&t=3s', 'www.youtube.com/watch?v=aB3dE-6_hIj',
        'youtube.com/watch?feature=x&v=aB3dE-6_hIj', 'youtube.com/watch?feature=x&amp;v=aB3dE-6_hIj',
        'm.youtube.com/watch?v=aB3dE-6_hIj', 'https://youtu.be/aB3dE-6_hIj?t=3',
        'youtu.be/aB3dE-6_hIj', 'https://www.youtube.com/embed/aB3dE-6_hIj?start=1',
        'https://youtube.com/shorts/aB3dE-6_hIj/', 'https://www.youtube-nocookie.com/embed/aB3dE-6_hIj',
        'http://signs.example.org/media/aB3dE-6_hIj.mp4?size=2', 'https://signs.example.org/v/aB3dE-6_hIj#t=3',
    ],
)  # fmt: skip
@pytest.mark.parametrize('name', ['aB3dE-6_hIj.mp4', 'a/A like [aB3dE-6_hIj].webm', 'a/A like-aB3dE-6_hIj.mkv'])
def test_addresses(address, name):
    videos = video_tables.Videos([name, 'other.mp4'])
    assert videos.find(address) == [name]
    assert videos.find(address.replace('aB3dE', 'xxxxx')) == []


def test_seconds_of_a_video(convert, videos, tmp_path):
    """The rate is that of the video; where it says none, of the table."""
    pytest.importorskip('av')
    from tests.videos import write_video

    videos('b.mp4')
    write_video(tmp_path / 'videos' / 'a.mp4', [np.zeros((48, 64, 3), np.uint8)] * 5, 'mpeg4', rate=20)
    table = 'file,gloss,start_time,end_time,fps\na,x,0:00:01.0,2,50\nb,y,1.5,,50\n'
    rows, _ = convert(*ALL_IN_TRAIN, t__csv=table)
    assert [row[5:] for row in rows] == [(21, 40), (76, -1)]
    rows, said = convert(*ALL_IN_TRAIN, t__csv=table.replace('fps', 'size'))
    assert '/t.csv, row 3: start and end are seconds, and /videos/b.mp4 does not say its frames per second' in said
    rows, _ = convert(*ALL_IN_TRAIN, '--fps=10', t__csv=table.replace('fps', 'size'))
    assert [row[5:] for row in rows] == [(11, 20), (16, -1)]
    rows, said = convert(*ALL_IN_TRAIN, t__csv=table.replace('1.5', 'x'))
    for cell in ('x', '00:00:01:12', '1:-5', '1.5s'):
        rows, said = convert(*ALL_IN_TRAIN, t__csv=table.replace('1.5', cell))
        assert f"row 3, column start_time: found '{cell}', expected seconds, or h:m:s" in said
    rows, _ = convert(*ALL_IN_TRAIN, t__csv=table.replace('1.5', '"0:00:01,5"').replace('50\n', '"29,97"\n'))
    assert [row[5:] for row in rows] == [(21, 40), (45, -1)]


def test_blanks_between_cells(convert, videos):
    videos('a/1.avi', 'a/2.avi', 'thank you/3.avi')
    rows, _ = convert(*ALL_IN_TRAIN, t__txt='a/1.avi  7 \na/2.avi 8\n')
    assert [row[:3] for row in rows] == [('a/1.avi', 0, '7'), ('a/2.avi', 1, '8')]
    rows, _ = convert(*ALL_IN_TRAIN, t__txt='path label\na/1.avi 7\na/2.avi 8\n')
    assert [row[:3] for row in rows] == [('a/1.avi', 0, '7'), ('a/2.avi', 1, '8')]
    # A path with blanks is one cell.
    rows, _ = convert(*ALL_IN_TRAIN, '--pattern=(?P<gloss>[^/]+)/', t__txt='thank you/3.avi\nnot there/0.avi\n')
    assert [row[:3] for row in rows] == [('thank you/3.avi', 0, 'thank you')]
    rows, said = convert(*ALL_IN_TRAIN, t__txt='a/1.avi a/2.avi 7\n')
    assert 'expected --file_column' in said or 'expected --gloss_column or --label_column (a number' in said


def test_numbers_without_a_header(convert, videos):
    """As SHREC: gesture, finger, subject, essai, class of 14, class of 28, frames."""
    videos('gesture_1/finger_2/subject_3/essai_4/00.png', 'gesture_2/finger_1/subject_5/essai_6/00.png')
    rows, _ = convert(
        '--file_column=1',
        '--label_column=5',
        '--signer_column=3',
        '--file_format=gesture_{{1}}/finger_{{2}}/subject_{{3}}/essai_{{4}}',
        *ALL_IN_TRAIN,
        t__txt='1 2 3 4 1 5 36\n2 1 5 6 2 3 40\n',
    )
    assert [row[1:5] for row in rows] == [(0, '1', 'train', '3'), (1, '2', 'train', '5')]
    rows, said = convert(*ALL_IN_TRAIN, t__txt='1 2 3 4 1 5 36\n2 1 5 6 2 3 40\n')
    assert '--file_column' in said


def test_named_cells(convert, videos):
    """As NVGesture."""
    videos('Video_data/class_01/subject13_r0/sk_color.avi', 'Video_data/class_02/subject2_r1/sk_color.avi')
    line = 'path:./Video_data/class_0{} depth:sk_depth:80:160 color:sk_color:81:161 label:{} '
    content = '\n'.join([line.format('1/subject13_r0', 0), line.format('2/subject2_r1', 1)])
    rows, _ = convert(
        '--file_format={{}}/{{color}}.avi',
        '--start_column=color2',
        '--end_column=color3',
        *ALL_IN_TRAIN,
        t__lst=content,
    )
    assert [row[1:3] + row[5:] for row in rows] == [(0, '0', 81, 161), (1, '1', 81, 161)]


def test_frames_that_are_named_by_a_pattern(convert, videos):
    """As PHOENIX, whose glosses are sentences."""
    videos('train/01April-0/1/images0001.png', 'train/01April-1/1/images0001.png')
    table = (
        'id|folder|signer|annotation\n01April-0|01April-0/1/*.png|Signer04|ABEND\n01April-1|01April-1/1/*.png|S5|TAG\n'
    )
    rows, said = convert(*ALL_IN_TRAIN, t__csv=table)
    assert 'expected --gloss_column or --label_column' in said
    assert 'found id, folder, signer, annotation' in said
    rows, _ = convert('--gloss_column=annotation', *ALL_IN_TRAIN, t__csv=table)
    assert [row[:5] for row in rows] == [
        ('train/01April-0/1', 0, 'ABEND', 'train', 'Signer04'),
        ('train/01April-1/1', 1, 'TAG', 'train', 'S5'),
    ]


ENTRIES = [{'file': 'a', 'gloss': 'x'}, {'file': 'b', 'gloss': 'y'}]


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('t__jsonl', '\ufeff{"file": "a", "gloss": "x"}\n\n{"file": "b", "gloss": "y"}\n'),
        ('t__json', '{"file": "a", "gloss": "x"}\n{"file": "b", "gloss": "y"}'),
        ('t__json', {'a': {'gloss': 'x'}, 'b': {'gloss': 'y'}}),
        ('t__json', {'a': 'x', 'b': 'y'}),
        ('t__json', {'version': 1, 'annotations': ENTRIES}),
        ('t__json', {'train': ENTRIES[:1], 'val': ENTRIES[1:]}),
    ],
)
def test_shapes_of_json(convert, videos, name, content):
    videos('a.mp4', 'b.mp4')
    rows, _ = convert(*ALL_IN_TRAIN[1:], *[] if 'val' in content else ['--validation=0'], **{name: content})
    splits = ['train', 'validation' if 'val' in content else 'train']
    assert [row[:4] for row in rows] == [('a.mp4', 0, 'x', splits[0]), ('b.mp4', 1, 'y', splits[1])]


def test_damaged_lines(convert, videos):
    videos('a.mp4')
    _, said = convert(t__jsonl='{"file": "a", "gloss": "x"}\n{"file": \n')
    assert '/t.jsonl, line 2 is damaged, expected a JSON object' in said
    _, said = convert(t__jsonl='[1]\n')
    assert '/t.jsonl, line 1 is damaged, expected a JSON object: it is no object' in said


def test_stills(convert, videos):
    videos('A/A1.jpg', 'A/A2.jpg', 'B/B1.jpg')
    tables = {
        'by_path__csv': 'file,label\nA/A1.jpg,A\nA/A2.jpg,A\nB/B1.jpg,B\n',
        'by_name__csv': 'file,label\nA1,A\nA2,A\nB1,B\n',
    }
    for name, content in tables.items():
        rows, said = convert(*ALL_IN_TRAIN, **{name: content})
        assert rows is None
        assert '3 are not in /videos (A' in said
        assert 'but as images: --stills makes each a clip of one frame' in said
        rows, _ = convert('--stills', *ALL_IN_TRAIN, **{name: content})
        assert [row[:3] for row in rows] == [('A/A1.jpg', 0, 'A'), ('A/A2.jpg', 0, 'A'), ('B/B1.jpg', 1, 'B')]
    classes = 'file,label\nA,A\nB,B\n'
    rows, said = convert(*ALL_IN_TRAIN, t__csv=classes)
    assert 'holds 2 folders of numbered images (A, B), which may be classes of stills or clips of frames' in said
    rows, _ = convert('--nostills', *ALL_IN_TRAIN, t__csv=classes)
    assert [row[:3] for row in rows] == [('A', 0, 'A'), ('B', 1, 'B')]


def test_frames_from_0_and_seconds(convert, videos):
    videos('a.mp4', 'b.mp4')
    rows, _ = convert(*ALL_IN_TRAIN, t__csv='file,gloss,start,end\na,x,0,9\nb,y,3,5\n')
    assert [row[5:] for row in rows] == [(1, 10), (4, 6)]
    rows, _ = convert('--first_frame=0', *ALL_IN_TRAIN, t__csv='file,gloss,start,end\na,x,2,9\nb,y,3,5\n')
    assert [row[5:] for row in rows] == [(3, 10), (4, 6)]
    rows, _ = convert('--fps=25', *ALL_IN_TRAIN, t__csv='file,gloss,start,end\na,x,0,"1,0"\nb,y,0.5,\n')
    assert [row[5:] for row in rows] == [(1, 25), (13, -1)]


def test_columns_of_any_name_and_rows_without_a_gloss(convert, videos):
    videos('anna/1.mp4', 'anna/2.mp4', 'ben/1.mp4')
    rows, said = convert(
        '--file_column=rec no',
        '--gloss_column=Bedeutung',
        '--signer_column=wer',
        '--file_format={{wer}}/{{}}.mp4',
        *ALL_IN_TRAIN,
        t__csv='wer;rec no;Bedeutung\nanna;1;Haus\nben;1;Baum\nanna;2;\nben;1;Baum\n',
    )
    assert [row[:5] for row in rows] == [
        ('anna/1.mp4', 1, 'Haus', 'train', 'anna'),
        ('ben/1.mp4', 0, 'Baum', 'train', 'ben'),
    ]
    assert 'passed over, without a gloss: 1 (row 4)' in said
    assert 'passed over, repeated: 1 (row 5)' in said


def test_columns_that_are_not_used_are_named(convert, videos):
    videos('a.mp4', 'b.mp4')
    rows, said = convert(*ALL_IN_TRAIN, t__csv='file,gloss,start_ms,Dauer\na,x,5,7\nb,y,6,8\n')
    assert [row[5:] for row in rows] == [(1, -1)] * 2
    assert 'gloss = gloss; other columns: start_ms, Dauer\n' in said


@pytest.mark.parametrize('columns', ['start_s,end_s', 'Start (s),End (s)', 'start_sec,end_seconds'])
def test_columns_of_seconds(convert, videos, columns):
    videos('a.mp4', 'b.mp4')
    rows, _ = convert(*ALL_IN_TRAIN, t__csv=f'file,gloss,fps,{columns}\na,x,10,1,2\nb,y,10,0.5,\n')
    assert [row[5:] for row in rows] == [(11, 20), (6, -1)]


def test_glosses_of_numbers_from_spreadsheets(convert, videos):
    videos('a.mp4', 'b.mp4')
    rows, _ = convert(*ALL_IN_TRAIN, t__csv='file,gloss\na,1\nb,1.0\n')
    assert [row[2] for row in rows] == ['1', '1']


def test_splits_are_drawn_where_there_are_none(convert, videos):
    videos(*(f'{number}.mp4' for number in range(20)))
    table = 'video,label\n' + '\n'.join(f'{number},{number % 2}' for number in range(20))
    rows, _ = convert('--validation=0.2', '--test=0.1', train__csv=table)
    assert sorted(row[3] for row in rows) == ['test'] * 2 + ['train'] * 14 + ['validation'] * 4


GOOD = 'file,gloss\na,x\nb,y\n'
BAD = {
    'no column of the file': (GOOD.replace('file', 'rec'), '', ['/t.csv', '--file_column', 'rec', 'gloss']),
    'no column of the gloss': (GOOD.replace('gloss', 'meaning'), '', ['/t.csv', '--gloss_column', 'meaning']),
    'unknown column': (GOOD, '--signer_column=who', ['/t.csv', "'who'", '--signer_column', 'file, gloss']),
    'no video at all': ('file,gloss\nx,x\n', '', ['/t.csv', '1 are not in /videos (x)', '--file_format']),
    'no gloss at all': ('file,gloss\na,\n', '', ['/t.csv', '1 are without a gloss (row 2)']),
    'an empty table': ('', '', ['/t.csv is empty']),
    'two videos': ('file,gloss\nc,x\n', '', ['/t.csv, row 2', 'column file', "'c'", 'c.mov', 'c.mp4']),
    'empty file': ('file,gloss\na,x\n,y\n', '', ['/t.csv, row 3', 'column file', "''"]),
    'unknown split': ('file,gloss,split\na,x,train\nb,y,later\n', '', ['row 3', 'column split', "'later'", 'train']),
    'a frame that is none': ('file,gloss,start\na,x,1.5\n', '', ['row 2', 'column start', "'1.5'", '--fps']),
    'end before start': ('file,gloss,start,end\na,x,9,5\n', '', ['/t.csv: a.mp4', 'frame_end', '5', '9']),
    'two glosses': ('file,gloss\na,x\na,y\n', '', ['/t.csv, row 3', "'y'", "'x'", 'row 2', 'a.mp4']),
    'unknown gloss': (GOOD, '--glosses=x,z', ['/t.csv', 'z', '2 glosses: x, y']),
    'a format of another column': (GOOD, '--file_format={{who}}.mp4', ['--file_format={who}.mp4', 'file, gloss']),
    'a label without a name': (GOOD, '--glosses_file={d}/t.csv', ['row 2', "'x'", '--glosses_file']),
    'too many splits': (GOOD, '--split=train,test', ['--split=train,test', '1 tables']),
    'a pattern that is none': (GOOD, '--pattern=(', ['--pattern=(', 'regular expression']),
}


@pytest.mark.parametrize(('table', 'options', 'words'), BAD.values(), ids=BAD)
def test_refused(convert, videos, tmp_path, table, options, words):
    videos('a.mp4', 'b.mp4', 'c.mp4', 'c.mov')
    rows, stderr = convert(*options.split(), t__csv=table)
    assert rows is None
    for word in words:
        assert word in stderr
    assert not (tmp_path / 'clips.csv').exists()


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ({'a': {'subset': 'train', 'action': [1]}}, ['entry 0', 'action', '[1]', '[class, start, end]']),
        ([{'gloss': 'x', 'instances': []}], ['preprocessing.wlasl']),
        ([1, 2], ['expected a JSON object']),
        ({'a': ['book', 'train']}, ['expected a JSON object with an entry per video']),
        ('[{"file": "a", "gloss": NaN}]', ['without a gloss', 'entry 0']),
        ('{', ['JSON']),
    ],
)
def test_bad_json(convert, videos, content, words):
    videos('a.mp4')
    rows, stderr = convert(t__json=content)
    assert rows is None
    for word in ['/t.json', *words]:
        assert word in stderr


def test_several_tables_that_name_no_split(convert, videos):
    videos('a.mp4', 'b.mp4')
    rows, stderr = convert(one__csv='file,gloss\na,x', two__csv='file,gloss\nb,x')
    assert rows is None
    assert '/one.csv says no split, expected --split' in stderr
