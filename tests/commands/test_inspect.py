"""The command that draws landmarks on frames: pictures of the whole clip, colors at the positions of points."""

import pytest

pytest.importorskip('cv2')

import cv2
import numpy as np

from preprocessing import clips as clips_lib
from preprocessing.extraction import drawing, landmarker, video
from preprocessing.extraction import store as store_lib
from slr_jax import files
from tests.in_process import check_refusal, run_here

RED, BLUE, GREEN = (230, 60, 50), (40, 110, 240), (60, 190, 90)
GROUPS = landmarker.LAYOUT.groups
HEIGHT, WIDTH = 180, 240
GREY = 128
NUM_FRAMES = 5
START = 3


def make_points(frame):
    """Landmarks that stand apart from one another, and move right a little a frame."""
    points = np.full((75, 3), np.nan, np.float32)
    rng = np.random.default_rng(1)
    for group, left in (('right_hand', 0.05), ('left_hand', 0.7), ('body', 0.35)):
        places = list(GROUPS[group])
        points[places, 0] = left + 0.2 * rng.random(len(places)) + 0.01 * frame
        points[places, 1] = 0.1 + 0.8 * rng.random(len(places))
        points[places, 2] = 0
    return points


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """A grey video of ten frames and the same as a folder."""
    path = tmp_path_factory.mktemp('videos')
    writer = cv2.VideoWriter(str(path / 'a.avi'), cv2.VideoWriter.fourcc(*'FFV1'), 20, (WIDTH, HEIGHT))
    (path / 'a').mkdir()
    for number in range(1, 11):
        frame = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
        writer.write(frame)
        cv2.imwrite(str(path / 'a' / f'a_{number:06d}.png'), frame)
    writer.release()
    (path / 'broken.avi').write_text('no video')
    return path


@pytest.fixture(params=['signer', 'swapped'])
def handedness(request):
    return request.param


@pytest.fixture
def directory(tmp_path, handedness):
    """A directory of landmarks, as extract_landmarks writes it."""
    path = tmp_path / 'landmarks'
    path.mkdir()
    files.write_json(str(path / 'extraction.json'), {'format': store_lib.FORMAT, 'handedness': handedness})
    points = np.stack([make_points(frame) for frame in range(NUM_FRAMES)])
    for name, file, start in (
        ('clip', 'a.avi', START),
        ('gone', 'gone.avi', 1),
        ('broken', 'broken.avi', 1),
        ('longer', 'a.avi', 8),
    ):
        clip = clips_lib.Clip(name, file, 0, 'book', 'test', frame_start=start, frame_end=start + NUM_FRAMES - 1)
        (path / f'{name}.npz').write_bytes(store_lib.encode(clip, points, 'abc'))
    return path


@pytest.fixture
def inspect_clip(directory, videos, capfd, monkeypatch):
    """A function: clip, output and other options -> exit status and stderr of the command."""

    def inspect_clip(name, output, **options):
        given = {'landmarks': directory, 'video_id': name, 'videos': videos, 'output': output} | options
        flags = [f'--{option}={value}' for option, value in given.items() if value is not None]
        return run_here(['preprocessing.inspect', *flags], capfd, monkeypatch)

    return inspect_clip


def color_of(group, handedness):
    """The signer's right hand is red, whatever the files call it."""
    colors = {'right_hand': RED, 'left_hand': BLUE, 'body': GREEN}
    if handedness == 'swapped':
        colors |= {'right_hand': BLUE, 'left_hand': RED}
    return colors[group]


def check_colors(picture, points, handedness, tolerance):
    """Every group is there in its color, at the places of its points, and nowhere else."""
    height, width = picture.shape[:2]
    for group in ('right_hand', 'left_hand', 'body'):
        x, y = (points[list(GROUPS[group]), :2] * (width, height)).round().astype(int).T
        away = np.abs(picture[y, x].astype(int) - color_of(group, handedness)).max(axis=1)
        assert (away <= tolerance).mean() > 0.9
    # The three groups lie beside one another.
    colored = np.ptp(picture.astype(int), axis=2) > 60
    for x0, x1 in ((0, 0.03), (0.31, 0.33), (0.61, 0.68), (0.95, 1)):
        assert not colored[:, int(x0 * width) : int(x1 * width)].any()
    for (x0, x1), group in (((0.03, 0.31), 'right_hand'), ((0.34, 0.61), 'body'), ((0.68, 0.95), 'left_hand')):
        part = picture[:, int(x0 * width) : int(x1 * width)][colored[:, int(x0 * width) : int(x1 * width)]]
        assert len(part) > 100
        assert (part.mean(axis=0).argmax()) == np.argmax(color_of(group, handedness))


def test_a_picture_shows_frames_spread_over_the_clip(inspect_clip, handedness, tmp_path):
    output = tmp_path / 'clip.png'
    assert inspect_clip('clip', output, num_tiles=3) == (0, '')
    sheet = cv2.imread(str(output))[..., ::-1]
    # Three of four columns; the last is white.
    assert sheet.shape == (360, 4 * 480, 3)
    assert (sheet[:, 3 * 480 :] == 255).all()
    for tile, frame in enumerate((0, 2, 4)):
        picture = sheet[:, tile * 480 : (tile + 1) * 480]
        assert not (picture[:40, :60] == GREY).all()
        check_colors(picture[40:], rescaled(make_points(frame), 40, 360), handedness, 40)


def rescaled(points, top, height):
    """Points of a picture whose upper rows are cut off; those above are put to its first row."""
    again = points.copy()
    again[:, 1] = (points[:, 1] * height - top) / (height - top)
    assert (again[:, 1] >= 0)[~np.isnan(again[:, 1])].mean() > 0.9
    again[:, 1] = again[:, 1].clip(0, 1)
    return again


def test_more_tiles_than_frames(inspect_clip, tmp_path):
    assert inspect_clip('clip', tmp_path / 'clip.png') == (0, '')
    assert cv2.imread(str(tmp_path / 'clip.png')).shape == (2 * 360, 4 * 480, 3)
    assert [path.name for path in tmp_path.iterdir() if path.name != 'landmarks'] == ['clip.png']


def test_a_video_shows_the_whole_clip(inspect_clip, handedness, tmp_path):
    output = tmp_path / 'clip.mp4'
    assert inspect_clip('clip', output) == (0, '')
    drawn = list(video.read_frames(str(output), lambda number: True, None))
    assert [number for number, _ in drawn] == list(range(1, NUM_FRAMES + 1))
    assert video.frames_per_second(str(output)) == 20
    for number, frame in drawn:
        assert frame.shape == (720, 960, 3)
        check_colors(frame, make_points(number - 1), handedness, 70)


def test_folders_of_frames_do_as_well(inspect_clip, videos, tmp_path):
    assert inspect_clip('clip', tmp_path / 'video.png') == (0, '')
    assert inspect_clip('clip', tmp_path / 'frames.png', videos=None, frames=videos) == (0, '')
    assert (tmp_path / 'video.png').read_bytes() == (tmp_path / 'frames.png').read_bytes()


def test_points_that_were_not_seen_are_not_drawn(handedness):
    frame = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    points = np.full((75, 3), np.nan, np.float32)
    np.testing.assert_array_equal(drawing.draw_frame(frame, points, handedness), frame)
    points[list(GROUPS['left_hand'])] = (0.5, 0.5, 0)
    drawn = drawing.draw_frame(frame, points, handedness)
    assert tuple(drawn[HEIGHT // 2, WIDTH // 2]) == color_of('left_hand', handedness)
    assert (drawn != frame).any(axis=2).sum() < 40
    assert (frame == GREY).all()


def test_points_outside_of_the_frame_are_passed_over(handedness):
    frame = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    points = np.full((75, 3), np.nan, np.float32)
    points[list(GROUPS['body'])] = (-0.5, 1.5, 0)
    np.testing.assert_array_equal(drawing.draw_frame(frame, points, handedness), frame)


@pytest.mark.parametrize('handedness', ['signer'], indirect=True)
@pytest.mark.parametrize(
    ('name', 'output', 'options', 'words'),
    [
        ('nobody', 'a.png', {}, 'landmarks/nobody.npz is missing, expected the landmarks of a clip'),
        (
            'clip',
            'a.png',
            {'landmarks': '{videos}'},
            'has no extraction.json, expected a directory of extract_landmarks',
        ),
        ('clip', 'a.png', {'landmarks': '/nowhere'}, '/nowhere has no extraction.json'),
        ('gone', 'a.png', {}, 'gone.avi is missing, expected the video of clip gone'),
        ('broken', 'a.mp4', {}, 'broken.avi: the file is not a video, or has lost its end or its header'),
        ('longer', 'a.png', {}, 'a.avi has fewer frames than the 5 landmarks of clip longer'),
        ('clip', 'a.gif', {}, 'a.gif, expected a name that ends in .png or .mp4'),
        ('clip', 'a', {}, 'a, expected a name that ends in .png or .mp4'),
        ('clip', 'there.png', {}, 'there.png exists already, expected a new path'),
        ('clip', 'there.mp4', {}, 'there.mp4 exists already, expected a new path'),
        ('clip', 'a.png', {'videos': None}, 'either --videos or --frames must be given'),
        ('clip', 'a.png', {'frames': '{videos}'}, 'either --videos or --frames must be given'),
        ('clip', 'a.png', {'num_tiles': 0}, '--num_tiles=0'),
    ],
)
def test_what_is_refused(inspect_clip, videos, tmp_path, name, output, options, words):
    for there in ('there.png', 'there.mp4'):
        (tmp_path / there).write_bytes(b'mine')
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob('*')}
    options = {key: value.format(videos=videos) if isinstance(value, str) else value for key, value in options.items()}
    check_refusal(*inspect_clip(name, tmp_path / output, **options), [words])
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob('*')} == before
