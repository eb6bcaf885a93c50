"""The wheel, built from a copy of the sources, installed elsewhere and imported from there."""

import os
import shutil
import subprocess
import sys

import pytest

import slr_jax
from tests.conftest import ROOT

PACKAGES = ('slr_jax', 'preprocessing')


TEMPLATES = {f'slr_jax/templates/report.{kind}' for kind in ('html', 'css', 'js')}


def sources(root):
    return {path.relative_to(root).as_posix() for package in PACKAGES for path in (root / package).rglob('*.py')}


@pytest.mark.slow
def test_the_wheel_is_built_installed_and_imported(tmp_path):
    def pip(*options):
        command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', *options, '--no-deps', '--quiet']
        subprocess.run(command, cwd=tmp_path, check=True)

    project = tmp_path / 'project'
    ignore = shutil.ignore_patterns('__pycache__', '.*', '*.egg-info', 'build', 'dist', 'data', 'runs')
    shutil.copytree(ROOT, project, ignore=ignore)
    pip('wheel', '--no-build-isolation', str(project), '--wheel-dir=wheels')
    (wheel,) = (tmp_path / 'wheels').iterdir()
    assert wheel.name == f'slr_jax-{slr_jax.__version__}-py3-none-any.whl'
    site = tmp_path / 'site'
    pip('install', f'--target={site}', str(wheel))
    assert {path.name for path in site.iterdir()} == {*PACKAGES, f'slr_jax-{slr_jax.__version__}.dist-info'}
    assert sources(site) == sources(ROOT)
    assert {path.relative_to(site).as_posix() for path in site.glob('*/templates/*')} == TEMPLATES
    modules = [name.removesuffix('.py').replace('/', '.') for name in sources(site) if name.startswith('slr_jax/')]
    code = f'import {", ".join(sorted(modules))}, preprocessing.build_dataset; print(slr_jax.__file__)'
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(site / 'slr_jax' / '__init__.py')
