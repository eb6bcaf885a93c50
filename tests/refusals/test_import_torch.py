"""PyTorch checkpoints that cannot be imported."""

import pytest

IMPORT = 'slr_jax.import_torch --workdir={out} --checkpoint={w}/pth/'
GOLDEN = 'slr_jax.import_torch --workdir={out} --checkpoint={w}/golden/'

CASES = {
    'no checkpoint': ('slr_jax.import_torch --workdir={out}', '--checkpoint'),
    'empty name': ('slr_jax.import_torch --workdir={out} --checkpoint=', '--checkpoint', '.pth'),
    'unknown layout': (IMPORT + 'list.pth --layout=foot', '--layout=foot', 'mediapipe_hand', 'vision_api'),
    'number of heads is text': (IMPORT + 'list.pth --num_heads=six', '--num_heads=six', 'whole number'),
    'no such file': (IMPORT + 'nowhere.pth', 'pth/nowhere.pth', 'No such file'),
    'directory': (IMPORT, '{w}/pth/', 'Is a directory'),
    'empty file': (IMPORT + 'empty.pth', 'pth/empty.pth', 'empty', 'torch.save'),
    'noise': (IMPORT + 'noise.pth', 'pth/noise.pth', 'PyTorch', 'safetensors', 'torch.save'),
    'cut in the middle': (IMPORT + 'cut.pth', 'pth/cut.pth', 'damaged', 'torch.save'),
    'pickle of something else': (IMPORT + 'legacy.pth', 'pth/legacy.pth', 'pickle', 'torch.save'),
    'other zip file': (IMPORT + 'zip.pth', 'pth/zip.pth', 'zip', 'data.pkl', 'torch.save'),
    'archive of landmarks': (IMPORT + '../npz/good.npz', 'npz/good.npz', 'zip', 'data.pkl', 'torch.save'),
    'hostile pickle': (IMPORT + 'hostile.pth', 'pth/hostile.pth', 'posix.mkdir'),
    'pickle cut in the middle': (IMPORT + 'pickle_cut.pth', 'pth/pickle_cut.pth', 'pickle', 'ends too early'),
    'list': (IMPORT + 'list.pth', 'pth/list.pth', 'list', 'module', 'state dict'),
    'no model': (IMPORT + 'no_model.pth', 'pth/no_model.pth', 'models', 'epoch, weight', 'no tensors'),
}


@pytest.mark.usefixtures('torch_files', 'archives')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


GOLDEN_CASES = {
    'workdir exists': (GOLDEN + 'good.pth --workdir={w}/run', '{w}/run', 'exists'),
    'workdir is a file': (GOLDEN + 'good.pth --workdir={w}/a_file', '{w}/a_file', 'exists'),
    'another layout': (GOLDEN + 'good.pth --layout=vision_api', 'golden/good.pth', '42', 'vision_api'),
    'another number of heads': (GOLDEN + 'good.pth --num_heads=5', 'golden/good.pth', '7', 'num_heads', '5'),
    'names of other classes': (
        GOLDEN + 'good.pth --label_names={w}/text/two.txt',
        *('text/two.txt', '2', 'golden/good.pth', '13'),
    ),
    'no names': (GOLDEN + 'good.pth --label_names={w}/text/empty.txt', 'text/empty.txt', 'empty', 'gloss'),
    'names are noise': (GOLDEN + 'good.pth --label_names={w}/text/noise.txt', 'text/noise.txt', 'UTF-8'),
    'no such file of names': (GOLDEN + 'good.pth --label_names={w}/nowhere.txt', '{w}/nowhere.txt', 'No such file'),
    'cut in the middle': (GOLDEN + 'cut.pth', 'golden/cut.pth', 'torch.save'),
    'noise in the middle': (GOLDEN + 'flipped.pth', 'golden/flipped.pth', 'torch.save'),
}


@pytest.mark.usefixtures('golden', 'workdirs')
@pytest.mark.parametrize('case', GOLDEN_CASES.values(), ids=GOLDEN_CASES)
def test_published_checkpoint_refused(refuse, case):
    refuse(*case)
