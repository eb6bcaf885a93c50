"""The README and docs/: their commands, paths, links and Python are those of the project."""

import re
import runpy
import shlex
import shutil
import sys

from absl import flags
import jax
import numpy as np
import pytest

from configs import default
from experiments.fuzzing import torch_files
from slr_jax import cli, dataset, models, train_lib
from tests.conftest import ROOT, make_tiny_config

PAGES = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')])
README = (ROOT / 'README.md').read_text()
PYTHON = (ROOT / 'docs' / 'python.md').read_text()
PACKAGES = ('slr_jax', 'preprocessing', 'experiments', 'configs')
FENCE = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
page_by_page = pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)


def blocks(text, language):
    return [block for found, block in FENCE.findall(text) if found == language]


def prose(page):
    return FENCE.sub('', page.read_text())


def modules_and_options(words):
    """[module, options …] of each `python -m` in the words of a shell line, those inside quotes included."""
    for i, word in enumerate(words):
        if ' -m ' in word:
            yield from modules_and_options(shlex.split(word))
        if re.search(r'python[\d.]*$', word) and words[i + 1 : i + 2] == ['-m']:
            yield words[i + 2 :]


def commands():
    """The commands of this project on all pages and in the docstrings of configs, each once."""
    lines = []
    for page in PAGES:
        text = page.read_text()
        lines += [line for block in blocks(text, 'bash') for line in block.replace('\\\n', '').splitlines()]
        lines += [span.replace('\n', ' ') for span in re.findall('`([^`]+)`', FENCE.sub('', text))]
    for path in sorted((ROOT / 'configs').glob('*.py')):
        lines += path.read_text().replace('\\\n', '').splitlines()
    found = [
        command
        for line in lines
        if 'python -m' in line
        for command in modules_and_options(shlex.split(line, comments=True))
    ]
    return sorted({tuple(command) for command in found if command[0].startswith(PACKAGES)})


@pytest.fixture
def parse(monkeypatch):
    """Parses the options of a command as the command itself does, without running it; returns its flags."""
    monkeypatch.chdir(ROOT)
    before = set(flags.FLAGS)

    def parse(module, options):
        defined = []

        def define_and_parse(_, define_flags):
            define_flags()
            defined.extend(name for name in flags.FLAGS if name not in before)
            if not any('…' in option for option in options):
                assert len(flags.FLAGS(sys.argv)) == 1

        monkeypatch.setattr(cli, 'run_command', define_and_parse)
        monkeypatch.setattr(sys, 'argv', [module, *options])
        sys.modules.pop('config_config', None)
        try:
            runpy.run_module(module, run_name='__main__', alter_sys=True)
        finally:
            flags.FLAGS.remove_flag_values([name for name in flags.FLAGS if name not in before])
            flags.FLAGS.unparse_flags()
        return defined

    return parse


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


@pytest.mark.filterwarnings('ignore:.*load_module:DeprecationWarning', 'ignore:.*found in sys.modules:RuntimeWarning')
@pytest.mark.parametrize('command', commands(), ids=' '.join)
def test_every_command_has_the_flags_of_its_module(parse, command):
    module, *options = command
    if re.match(r'preprocessing\.(extract|inspect|download)|experiments\.extraction', module):
        pytest.importorskip('cv2')
        pytest.importorskip('mediapipe')
    defined = parse(module, options)
    given = [re.match(r'--(?:no)?(\w+)', option)[1] for option in options]
    assert set(given) <= {*defined, *(name.removeprefix('no') for name in defined)}


@page_by_page
def test_every_link_leads_somewhere(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if link.startswith('https://'):
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = re.findall('^#+ (.+)$', target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in [re.sub(r'[^\w -]', '', x).lower().replace(' ', '-') for x in headings]


@page_by_page
def test_every_path_of_the_project_exists(page):
    if page.name == 'CHANGELOG.md':
        pytest.skip('names what there was')
    text = prose(page)
    paths = re.findall(rf'`((?:{"|".join((*PACKAGES, "tests", "docs"))})/[\w./]*)`', text)
    dotted = re.findall(rf'`((?:{"|".join(PACKAGES)})(?:\.\w+)+)`', text)
    for path in [*paths, *map(as_module, dotted)]:
        assert (ROOT / path).exists(), path


@page_by_page
def test_every_flag_and_field_in_the_text_exists(page):
    if page.name == 'CHANGELOG.md':
        pytest.skip('names what there was')
    text = ' '.join(re.findall('`([^`]+)`', prose(page)))
    sources = [path.read_text() for package in PACKAGES for path in (ROOT / package).rglob('*.py')]
    known = {name for source in sources for name in re.findall(r"(?:DEFINE_\w+\(\s*|layout=)'(\w+)'", source)}
    assert set(re.findall(r'(?<!\S)--(\w+)', text)) <= {*known, *dataset.SPLITS}
    fields = re.findall(r'(?<![\w/])(?:--)?config\.(?!json|py|field)(\w+)', text)
    assert set(fields) <= set(default.get_config())


def as_module(name):
    """The file of the longest part of a dotted name that has one; the rest are names inside it."""
    parts = name.split('.')
    for end in range(len(parts), 1, -1):
        path = '/'.join(parts[:end])
        if (ROOT / f'{path}.py').exists() or (ROOT / path).is_dir():
            return path if (ROOT / path).is_dir() else f'{path}.py'
    return f'{"/".join(parts)}.py'


def test_the_architecture_lists_every_module_once():
    tree = blocks((ROOT / 'docs' / 'architecture.md').read_text(), '')[0]
    listed, folders = [], []
    for indent, name in re.findall(r'^( *)([\w/.]+)', tree, re.MULTILINE):
        folders = folders[: len(indent) // 2]
        path = '/'.join([*folders, name])
        if name.endswith('/'):
            folders.append(name.rstrip('/'))
        elif '#' not in name:
            listed.append(path)
    actual = [
        str(path.relative_to(ROOT))
        for package in ('slr_jax', 'preprocessing', 'experiments')
        for path in (ROOT / package).rglob('*.py')
        if path.name != '__init__.py'
    ]
    assert set(listed) ^ set(actual) == set()
    assert len(set(listed)) == len(listed)


@pytest.fixture
def demo(tmp_path, tiny_dir, monkeypatch):
    """A folder in which what the README's Python reads is there."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_dir, tmp_path / 'data' / 'synthetic')
    train_lib.train_and_evaluate(make_tiny_config('data/synthetic', num_epochs=1), 'runs/synthetic')
    model = models.create_model('class_query', num_classes=3, num_heads=7, num_layers=1, mlp_dim=4)
    params = model.init(jax.random.key(0), np.zeros((1, 1, 42)), np.ones((1, 1), bool))['params']
    class_path = 'src.models.ExplainabTransformer.ExplainabTransformerwQuery'
    state = torch_files.state_dict('class_query', params)
    torch_files.save('checkpoint_v_34.pth', torch_files.module(class_path, state, num_heads=7))


@pytest.mark.slow
def test_the_python_of_the_readme_runs(demo, capsys):
    names = {}
    for block in blocks(README, 'python'):
        exec(compile(block, 'README.md', 'exec'), names)
    printed = re.findall(r'^sign_\d: 0\.\d{3}$', capsys.readouterr().out, re.MULTILINE)
    assert len(printed) == 3
    assert names['logits'].shape == (1, 100)
    assert names['params']['encoder_mask'].shape == (42,)


@pytest.mark.slow
def test_the_python_page_prints_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, 'MODELS', dict(models.MODELS))
    names = {'__name__': 'python_page'}
    cells = re.findall(r'^```python\n(.*?)^```\n\n```text\n(.*?)^```$', PYTHON, re.MULTILINE | re.DOTALL)
    assert len(cells) == len(blocks(PYTHON, 'python'))
    for code, expected in cells:
        exec(compile(code, 'docs/python.md', 'exec'), names)
        pattern = re.escape(expected).replace('…', '.*')
        printed = capsys.readouterr().out
        assert re.fullmatch(pattern, printed, re.DOTALL), printed
