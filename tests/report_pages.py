"""Reports made of numbers that tests choose, and a reader of their pages."""

from html.parser import HTMLParser
import math

import numpy as np

from slr_jax import config, dataset, landmarks, masks, metrics, report_data, workdir

VOID = {'br', 'input', 'meta', 'wbr'}


class Page(HTMLParser):
    """Checks that elements are nested, and collects what tests ask for.

    Attributes:
        elements: (tag, attributes) in their order.
        texts: the text of each element that has some.
        numbers: of the `data` elements.
    """

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.numbers = [], [], []
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), attrs
        if tag == 'data':
            self.numbers.append(float(dict(attrs)['value']))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert {'svg'} & {*self._open}, tag
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self._open[-1] if self._open else '', data))

    def all(self, tag, **attributes):
        """The attributes of the elements of a tag that have these."""
        return [x for name, x in self.elements if name == tag and attributes.items() <= x.items()]

    def text(self):
        """All text that is seen."""
        return ' '.join(data for tag, data in self.texts if tag not in ('script', 'style'))


def make_report(
    names=('a', 'b', 'c'), layout='mediapipe_hand', num_clips=12, num_runs=1, num_frames=20, has_mask=True, **fields
):
    """A report of random answers to random clips."""
    rng = np.random.default_rng(5)
    description = dataset.Description('tiny', layout, names)
    shape = (num_frames, landmarks.LAYOUTS[layout].num_points, 3)
    clips = [rng.uniform(0.2, 0.8, shape).astype(np.float32) for _ in range(num_clips)]
    labels = np.arange(num_clips) % len(names)
    content = dataset.Dataset.from_clips(description, clips, labels, ['test'] * num_clips)
    runs = [
        _make_run(rng, description, labels, f'seed_{seed}' if num_runs > 1 else '', has_mask)
        for seed in range(num_runs)
    ]
    accuracies = [run.metrics['accuracy'] for run in runs]
    given = {
        'title': 'w', 'split': 'test', 'runs': runs, 'best': runs[-1], 'diverged': {}, 'dataset': content,
        'settings': [('', metrics.aggregate_runs(accuracies, num_clips))], 'is_training_data': False,
        'num_validation': 8, 'clips': content.split('test'), 'label_names': names,
    }  # fmt: skip
    return report_data.Report(**given | fields)


def _make_run(rng, description, labels, name, has_mask):
    logits = rng.normal(size=(len(labels), description.num_classes)).astype(np.float32)
    found = metrics.compute_metrics(logits, labels)
    layout = landmarks.LAYOUTS[description.layout]
    mask = masks.Mask('encoder_mask', rng.normal(1, 0.1, (layout.num_points, 2)), layout, description.handedness)
    rows = [
        {
            'epoch': epoch, 'step': 10 * epoch, 'learning_rate': 0.001, 'clips_per_second': 9.0,
            'train_loss': math.nan if epoch == 2 else 1 / epoch, 'train_accuracy': 0.5,
            'validation_loss': 2 / epoch, 'validation_accuracy': 0.25,
        }
        for epoch in range(1, 6)
    ]  # fmt: skip
    return report_data.RunReport(
        entry=workdir.RunEntry(name, {}, 1),
        config=config.default_config(),
        description=description,
        dataset={'clips': {'train': 30, 'test': len(labels)}, 'fingerprint': 'f' * 64},
        environment={'jax': '1.2.3'},
        began=None,
        checkpoint=rows[-1],
        rows=rows,
        metrics=found
        | {
            'split': 'test',
            'checkpoint': 50,
            'epoch': 5,
            'selected_by': 'the best by validation accuracy',
            'parameters': 7,
        },
        logits=logits,
        masks=[mask] if has_mask else [],
    )
