"""Workdirs and outputs that the export refuses."""

import pytest

EXPORT = 'slr_jax.export --output={out} --workdir={w}/'

CASES = {
    'no output given': ('slr_jax.export --workdir={w}/run', '--output'),
    'no such workdir': (EXPORT + 'nowhere', '{w}/nowhere', 'config.json'),
    'several runs': (EXPORT + 'several', '{w}/several', '2', '{w}/several/seed_0'),
    'no such step': (EXPORT + 'run --checkpoint=99', '{w}/run', "'99'", 'best', 'latest', '1'),
    'checkpoint is noise': (EXPORT + 'checkpoint_noise', '{w}/checkpoint_noise/checkpoints/1', 'damaged'),
    'output is a file': ('slr_jax.export --workdir={w}/run --output={w}/a_file', '{w}/a_file', 'file', 'folder'),
    'output is a workdir': ('slr_jax.export --workdir={w}/run --output={w}/run', '{w}/run', 'another kind', 'export'),
}


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('suffix', 'tflite onnx pt pth h5 keras mlmodel mlpackage pb zip npz TFLITE'.split())
def test_the_name_of_another_format_is_refused(refuse, suffix):
    refuse(f'slr_jax.export --workdir={{w}}/run --output={{out}}.{suffix}', f'.{suffix.lower()}', 'StableHLO', 'folder')


@pytest.mark.usefixtures('workdirs')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)
