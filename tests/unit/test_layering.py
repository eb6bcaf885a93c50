"""Who imports whom: the floors of docs/architecture.md."""

import ast
import graphlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGES = ('configs', 'experiments', 'preprocessing', 'slr_jax')


def module_name(path):
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


TREES = {
    module_name(path): ast.parse(path.read_text(encoding='utf-8'))
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob('*.py'))
}
COMMANDS = {
    name for name, tree in TREES.items() if any(ast.unparse(node).startswith('if __name__ ==') for node in tree.body)
}


def imports(name):
    """The modules that a module imports, late imports included: its own project's by their full names."""
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{name} has a relative import'
            whole = {f'{node.module}.{alias.name}' for alias in node.names}
            found |= {module for module in whole if module in TREES or node.module == 'absl'} or {node.module}
    return found


def belongs(module, packages):
    return any(module == package or module.startswith(f'{package}.') for package in packages)


@pytest.mark.parametrize(
    ('package', 'forbidden'),
    [
        ('slr_jax', ('preprocessing', 'experiments', 'configs', 'tests')),
        ('preprocessing', ('experiments', 'configs', 'tests', 'jax', 'flax', 'optax', 'orbax', 'torch', 'tensorflow')),
        ('configs', ('experiments', 'preprocessing', 'tests', 'jax')),
        ('experiments', ('tests',)),
    ],
)
def test_no_import_of_a_floor_above(package, forbidden):
    # The one command that joins a model and what extracts for it.
    names = {name for name in TREES if belongs(name, [package])} - {'slr_jax.predict'}
    found = {(name, module) for name in names for module in imports(name)}
    assert found
    assert not {(name, module) for name, module in found if belongs(module, forbidden)}


def test_preprocessing_takes_the_ground_floor_of_slr_jax_only():
    taken = {module for name in TREES if belongs(name, ['preprocessing']) for module in imports(name)}
    names = ('cli', 'dataset', 'errors', 'file_limits', 'files', 'frame_sizes', 'landmarks', 'progress', 'split_copies')
    ground = {f'slr_jax.{name}' for name in names}
    assert {module for module in taken if belongs(module, ['slr_jax'])} <= ground | {'slr_jax'}


def test_no_import_leads_back_to_itself():
    graph = {name: {module for module in imports(name) if module in TREES} for name in TREES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(TREES)


def test_libraries_import_no_commands():
    libraries = TREES.keys() - COMMANDS
    assert {'slr_jax.cli', 'slr_jax.dataset', 'preprocessing.clips'} <= libraries
    assert {'slr_jax.train', 'slr_jax.evaluate', 'preprocessing.wlasl'} <= COMMANDS
    assert not {(name, module) for name in libraries for module in imports(name) if module in COMMANDS}


def test_only_commands_define_flags_when_imported():
    def defines(node):
        return any(isinstance(inner, ast.Attribute) and inner.attr.startswith('DEFINE_') for inner in ast.walk(node))

    functions = (ast.FunctionDef, ast.ClassDef)
    for name in TREES.keys() - COMMANDS:
        assert not [node for node in TREES[name].body if not isinstance(node, functions) and defines(node)], name
        if belongs(name, ['slr_jax']) and name != 'slr_jax.cli':
            assert not {'absl.flags', 'ml_collections.config_flags'} & imports(name), name


def modules_after(code):
    code += '; import sys; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_evaluation_needs_no_training():
    loaded = modules_after('import slr_jax.evaluation, slr_jax.inference, slr_jax.checkpoint')
    assert 'jax' in loaded
    training = {f'slr_jax.{name}' for name in ('train_lib', 'train_step', 'run_group', 'run_log', 'trial')}
    assert not loaded & (training | {'optax', 'tensorboardX'})


def test_commands_import_jax_late():
    """So that --help and mistyped flags are answered at once."""
    commands = sorted(name for name in COMMANDS if belongs(name, ['slr_jax']))
    loaded = modules_after(f'import {", ".join(commands)}')
    assert not loaded & {'jax', 'flax', 'orbax', 'optax', 'tensorflow_datasets', 'matplotlib', 'preprocessing'}


def test_pictures_go_one_way_to_mediapipe():
    importers = {name for name in TREES if any(belongs(module, ['mediapipe']) for module in imports(name))}
    assert importers == {'preprocessing.extraction.landmarker'}
    [call] = [
        ast.unparse(node)
        for node in ast.walk(TREES['preprocessing.extraction.landmarker'])
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith('.Image')
    ]
    assert call == 'mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)'
