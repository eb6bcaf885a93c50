import dataclasses

import numpy as np
import pytest

from experiments import paper_table, recipes
from slr_jax import dataset as dataset_lib
from slr_jax import features, landmarks, metrics, models
from tests.conftest import make_tiny_config

IPN_HAND = dataset_lib.Description('ipn_hand', 'mediapipe_hand', [str(label) for label in range(13)])
CLIPS = 40


def make_answers(model, right, data=IPN_HAND, diverged=()):
    """Answers of a model that is right where <bool>[seeds, clips] `right` says; all labels are 0."""
    config = make_tiny_config('', model=model, seeds=tuple(range(len(right) + len(diverged))))
    experiment = paper_table.Experiment(
        data, {'fingerprint': 'f', 'clips': {'train': 9, 'test': CLIPS}}, config, '/nowhere'
    )
    runs = [
        {'seed': seed, 'accuracy': float(np.mean(of_seed)), 'published_accuracy': float(np.mean(of_seed)) + 0.1}
        for seed, of_seed in enumerate(right)
    ]
    probabilities = np.where(np.asarray(right)[..., None], [0.7, 0.2, 0.1], [0.3, 0.6, 0.1]) if len(right) else []
    return paper_table.Answers(
        experiment, np.zeros(CLIPS, int), runs, np.array(probabilities), 1234 if runs else None, diverged
    )


def first_right(*counts):
    """<bool>[seeds, clips], of which so many are right with each seed."""
    return np.array([np.arange(CLIPS) < count for count in counts])


def with_splits(dataset, name, *splits):
    description = dataclasses.replace(dataset.description, name=name)
    return dataset_lib.Dataset(description, {split: dataset.splits[split] for split in splits})


def test_the_recipe_is_that_of_the_dataset(tiny_dataset):
    dataset = with_splits(tiny_dataset, 'ksl13', 'train', 'validation', 'test')
    config, quick = (
        paper_table.make_config(dataset, 'data/ksl13', 'baseline', (3, 4), quick=quick) for quick in (False, True)
    )
    recipe = recipes.OF_DATASETS['ksl13'][0]()
    assert (config.num_epochs, config.learning_rate) == (recipe.num_epochs, recipe.learning_rate)
    assert (config.dataset, config.model, config.seeds) == ('data/ksl13', 'baseline', (3, 4))
    assert (config.keep_published_checkpoints, config.validation) == (True, 'split')
    assert quick.num_epochs < config.num_epochs
    assert quick.learning_rate == config.learning_rate


def test_other_datasets_train_as_published(tiny_dataset):
    dataset = with_splits(tiny_dataset, 'own', 'train', 'test')
    config = paper_table.make_config(dataset, 'data/own', 'class_query', (0,), quick=False)
    assert (config.optimizer, config.learning_rate, config.batch_size, config.num_epochs) == ('sgd', 0.001, 1, 350)
    assert config.validation == 'holdout'


@pytest.mark.parametrize(
    ('layout', 'num_heads'),
    [('mediapipe_hand', 7), ('mediapipe_two_hands', 7), ('vision_api', 9), ('mediapipe_hands_pose', 10)],
)
def test_heads_are_as_published(layout, num_heads):
    dataset = dataset_lib.Dataset(dataset_lib.Description('own', layout, ['a', 'b']), {})
    config = paper_table.make_config(dataset, 'data/own', 'spoter_pe', (0,), quick=False)
    assert config.num_heads == num_heads
    assert features.Features.from_config(config, layout).dim == 2 * landmarks.LAYOUTS[layout].num_points


def test_quick_recipes_are_legal():
    description = dataset_lib.Description('own', 'mediapipe_hand', ['a', 'b'])
    for name in [*recipes.OF_DATASETS, 'own']:
        dataset = dataset_lib.Dataset(dataclasses.replace(description, name=name), {})
        configs = [paper_table.make_config(dataset, 'd', 'baseline', (0,), quick=quick) for quick in (True, False)]
        assert configs[0].num_epochs < configs[1].num_epochs
        assert configs[0].warmup_epochs < configs[0].num_epochs / 2


def test_models_are_in_the_order_of_the_table():
    names = ['class_query', 'spoter_pe', 'class_query']
    assert paper_table.choose_models(names) == ['spoter_pe', 'class_query']
    assert paper_table.choose_models(paper_table.PUBLISHED_MODELS) == list(paper_table.PUBLISHED_MODELS)


def test_a_row_has_means_and_intervals_by_hand():
    """20 and 30 of 40 clips: mean 62.5 %, deviations of 12.5 from it."""
    row = paper_table.summarize(make_answers('class_query', first_right(20, 30)))
    assert (row['accuracy'], row['std']) == (0.625, pytest.approx(0.25 / 2**0.5))
    expected = metrics.mean_interval(0.625, row['std'], 2, CLIPS)
    assert (row['interval95_low'], row['interval95_high']) == pytest.approx(expected)
    assert row['published_accuracy'] == pytest.approx(0.725)
    expected = metrics.mean_interval(0.725, row['published_std'], 2, CLIPS)
    assert (row['published_interval95_low'], row['published_interval95_high']) == pytest.approx(expected)
    # Where one of two seeds is right, the mean of 0.7 and 0.3 is above that of 0.2 and 0.6 for another class.
    assert row['accuracy_together'] == 0.75
    assert (row['seeds'], row['clips'], row['parameters'], row['diverged']) == (2, CLIPS, 1234, '')


@pytest.mark.parametrize(
    ('fields', 'model', 'expected'),
    [
        ({}, 'class_query', (0.8656, 0.0201, 1101)),
        ({}, 'spoter_no_pe', (0.8665, 0.0201, 1101)),
        ({}, 'baseline', (None, None, None)),
        ({'name': 'mine'}, 'class_query', (None, None, None)),
        ({'layout': 'mediapipe_two_hands'}, 'class_query', (None, None, None)),
        ({'label_names': ('a', 'b')}, 'class_query', (None, None, None)),
    ],
)
def test_the_paper_is_quoted_where_dataset_and_model_are_the_same(fields, model, expected):
    answers = make_answers(model, first_right(20), dataclasses.replace(IPN_HAND, **fields))
    row = paper_table.summarize(answers)
    found = row['paper_accuracy'], row['paper_half_width'], row['paper_clips']
    assert found == (expected if expected[0] is None else pytest.approx(expected))


def test_pairs():
    right = {
        'spoter_no_pe': first_right(10, 12),
        'class_query': first_right(32, 34),
        'sequence_query': first_right(33),
    }
    pairs = paper_table.compare([make_answers(model, of_model) for model, of_model in right.items()])
    assert [(row['model'], row['compared_with']) for row in pairs] == [
        ('class_query', 'spoter_no_pe'),
        ('sequence_query', 'spoter_no_pe'),
        ('sequence_query', 'class_query'),
    ]
    assert [row['difference'] for row in pairs] == pytest.approx([0.55, 0.55, 0.0])
    # Where the seeds disagree, both together are right: see test_a_row_has_means_and_intervals_by_hand.
    assert [(row['only_model_correct'], row['only_other_correct']) for row in pairs] == [(22, 0), (21, 0), (0, 1)]
    p_values = [2 / 2**22, 2 / 2**21, 1.0]
    assert [row['mcnemar_p_value'] for row in pairs] == pytest.approx(p_values)
    assert [row['mcnemar_p_value_holm'] for row in pairs] == pytest.approx([3 * p_values[0], 2 * p_values[1], 1.0])
    assert [row['p_value_holm'] > row['p_value'] for row in pairs] == [True, True, False]
    assert pairs[0]['mcnemar_p_value_by_seed'] == f'seed 0: {2 / 2**22:.4g}, seed 1: {2 / 2**22:.4g}'
    assert pairs[1]['mcnemar_p_value_by_seed'] == f'seed 0: {2 / 2**23:.4g}'


@pytest.mark.slow
def test_words_about_the_mask():
    clear, alike, worse = (
        paper_table.compare([make_answers('spoter_no_pe', first_right(20)), make_answers('class_query', right)])
        for right in (first_right(36), first_right(21), first_right(4))
    )
    (sentence,) = paper_table.describe_masks(clear, 3)
    assert sentence.startswith('`class_query` beside `spoter_no_pe`, which differs in the mask alone: +40.0 points (')
    assert sentence.endswith('p below 0.001 after correction for 1 pair), which is more than noise.')
    (sentence,) = paper_table.describe_masks(alike, 1)
    assert '+2.5 points' in sentence
    assert sentence.endswith('), which may be noise. Of one seed, this is no statement about the recipe.')
    (sentence,) = paper_table.describe_masks(worse, 3)
    assert '-40.0 points' in sentence
    assert 'is more than noise' in sentence
    others = [make_answers(model, first_right(20)) for model in ('spoter_pe', 'spoter_no_pe')]
    assert not paper_table.describe_masks(paper_table.compare(others), 3)


def test_models_that_diverged_are_rows_without_numbers():
    answers = [
        make_answers('spoter_no_pe', first_right(20), diverged=[1]),
        make_answers('baseline', [], diverged=[0, 1]),
        make_answers('class_query', first_right(22, 24)),
    ]
    pairs = paper_table.compare(answers)
    assert [(row['model'], row['compared_with']) for row in pairs] == [('class_query', 'spoter_no_pe')]
    row = paper_table.summarize(answers[1])
    assert (row['clips'], row['accuracy'], row['published_accuracy'], row['diverged']) == (
        40,
        None,
        None,
        'seed 0, seed 1',
    )
    section = paper_table.Section(answers, pairs)
    lines = paper_table.to_markdown(section, quick=False).splitlines()
    rows = [line for line in lines if line.startswith('| ')]
    assert {line.count('|') for line in rows} == {9}
    assert '| baseline | diverged: seed 0, seed 1 |' in ''.join(rows)
    assert '| spoter_no_pe (diverged: seed 1) | 50.0% | 0.0 | 35.2 to 64.8 | 60.0% |' in ''.join(rows)
    assert '| 86.7 ± 2.0 % of 1,101 clips |' in ''.join(rows)
    figure = paper_table.draw([section])
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ['spoter_no_pe', 'baseline', 'class_query']
    assert [label.get_text() for label in right.get_yticklabels()] == ['class_query − spoter_no_pe']


def test_the_default_is_published_models():
    assert len(paper_table.PUBLISHED_MODELS) == 5
    assert set(paper_table.PUBLISHED_MODELS) <= set(models.MODELS)
