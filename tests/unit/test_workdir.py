import json
import os

import jax
import pytest

from slr_jax import runtime, workdir


@pytest.mark.parametrize('names', [[''], ['seed_1', 'seed_2']])
def test_environments_are_compared_in_one_line(tmp_path, capsys, monkeypatch, names):
    """What differs is kept, once; of older files, the fields that they have are compared."""
    files = [tmp_path / name / 'environment.json' for name in names]
    began = workdir.environment()
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(began))

    def printed():
        workdir.compare_environments(str(tmp_path), names)
        return capsys.readouterr().out.splitlines()

    assert began['cores'] == len(os.sched_getaffinity(0))
    assert {'python', 'jax', 'jaxlib', 'numpy', 'processes', 'devices', 'cpu'} < set(began)
    assert printed() == []
    monkeypatch.setattr(runtime, 'cores', lambda: 999)
    line = f'{tmp_path} began in another environment, and may end with other bits than in one: '
    for _ in range(2):
        assert printed() == [f'{line}cores is {began["cores"]} there and 999 here']
    for file in files:
        assert json.loads(file.read_text()) == {**began, 'continued_with': [{'cores': 999}]}
        file.write_text('{"jax": "0.1", "platform": "Linux-1"}')
    assert printed() == [f"{line}jax is '0.1' there and '{jax.__version__}' here"]
    files[0].write_text('{')
    for file in files[1:]:
        file.unlink()
    lines = printed()
    assert len(lines) == len(files)
    assert all(f'{file} cannot be read' in text for file, text in zip(files, lines, strict=True))
