"""What pictures say."""

import numpy as np
import pytest

from slr_jax import figures


@pytest.mark.parametrize(('num_classes', 'step'), [(3, 1), (200, 1), (201, 2), (450, 3)])
def test_a_confusion_matrix_names_as_many_classes_as_there_is_room_for(num_classes, step):
    names = [f'sign_{label}' for label in range(num_classes)]
    axes = figures.draw_confusion(np.eye(num_classes, dtype=int), names).axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        assert axis.get_ticklocs().tolist() == list(range(0, num_classes, step))
        assert [text.get_text() for text in axis.get_ticklabels()] == names[::step]


def test_a_gloss_is_no_formula(tmp_path):
    figure = figures.draw_confusion(np.eye(2, dtype=int), [r'$\frac{$ x', 'b'])
    figures.save(figure, str(tmp_path / 'confusion'))
    assert r'$\frac{$ x' in (tmp_path / 'confusion.svg').read_text()
