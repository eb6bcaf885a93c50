"""Tracks of other clips, beside what is seen by eye."""

import numpy as np
import pytest

from slr_jax import errors, tracks


@pytest.mark.parametrize('num_clips', [2, 3, 50])
def test_each_clip_goes_with_another_and_each_is_used_once(num_clips):
    others = tracks.other_clips(num_clips, np.random.default_rng(0))
    assert sorted(others) == list(range(num_clips))
    assert (others != np.arange(num_clips)).all()


def test_one_clip_has_no_other():
    with pytest.raises(errors.InputError, match='found 1 clips, expected at least 2'):
        tracks.other_clips(1, np.random.default_rng(0))


def test_a_clip_is_stretched_from_its_first_to_its_last_frame():
    clip = np.arange(4)[:, None]
    np.testing.assert_array_equal(tracks.stretch(clip, 7)[:, 0], [0, 0, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(tracks.stretch(clip, 2)[:, 0], [0, 3])


def test_shadows_come_after_the_points_of_each_block():
    short, long = np.full((2, 6), 1.0), np.arange(4)[:, None] + np.full((4, 6), 10.0)
    first, second = tracks.add_shadows([short, long], num_blocks=2, seed=0)
    np.testing.assert_array_equal(first, [[1, 1, 1, 10, 10, 10] * 2, [1, 1, 1, 13, 13, 13] * 2])
    np.testing.assert_array_equal(second[:, 3:6], 1)
    np.testing.assert_array_equal(second[:, 0], [10, 11, 12, 13])
