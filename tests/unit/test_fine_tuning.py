import numpy as np

from experiments import fine_tuning


def test_few_clips_of_some_signs(tiny_dataset):
    few, again, other = (fine_tuning.few_clips(tiny_dataset, ['sign_2', 'sign_0'], seed) for seed in (0, 0, 1))
    assert few.description.label_names == ('sign_0', 'sign_2')
    assert np.bincount(few.split('train').labels).tolist() == [3, 3]
    assert few.split('train').video_ids == again.split('train').video_ids != other.split('train').video_ids
    labels = tiny_dataset.split('test').labels
    assert len(few.split('test')) == (labels != 1).sum()
    assert set(few.split('train').video_ids) <= set(tiny_dataset.split('train').video_ids)


def test_the_table_has_means_and_intervals():
    rows = [
        {'method': 'a', 'test_accuracy': accuracy, 'test_clips': 100, 'validation_accuracy': 0.5}
        for accuracy in (0.4, 0.6)
    ]
    (row,) = fine_tuning.summarize(rows)
    assert (row['test accuracy'], row['standard deviation']) == ('50.0%', '14.1%')
    assert row['95 % interval of clips and seeds'] == '3.5 to 96.5'
    assert row['by seed'] == '40.0, 60.0'
