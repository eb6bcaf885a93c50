"""What the table of a paper refuses, before anything is trained."""

import pytest

TABLE = 'experiments.paper_table --output_dir={out} --datasets={w}/data/'

CASES = {
    'no datasets': ('experiments.paper_table --output_dir={out}', '--datasets'),
    'empty datasets': ('experiments.paper_table --output_dir={out} --datasets=', '--datasets'),
    'no such dataset': (TABLE + 'tiny,{w}/data/nowhere', 'data/nowhere', 'TFDS'),
    'directory of another kind': (TABLE + 'tiny/../../other_directory', 'other_directory', 'TFDS'),
    'the same dataset twice': (TABLE + 'tiny,{w}/data/tiny', '--datasets', "'tiny'"),
    'no test clips': (TABLE + 'tiny,{w}/data/only_train', 'only_train', "'test'"),
    'unknown model': (
        TABLE + 'tiny --models=class_query,spoter_no_pee',
        "'spoter_no_pee'",
        'did you mean spoter_no_pe?',
        'baseline',
    ),
    'no models': (TABLE + 'tiny --models=', '--models', 'baseline'),
    'seed that is no number': (TABLE + 'tiny --seeds=0,one', '--seeds', "'one'", 'whole numbers'),
    'negative seed': (TABLE + 'tiny --seeds=-1', '--seeds', "'-1'", 'whole numbers'),
    'no seeds': (TABLE + 'tiny --seeds=', '--seeds', 'whole numbers'),
    'seed twice': (TABLE + 'tiny --seeds=1,1', 'config.seeds', '(1, 1)', 'duplicates'),
    'huge seed': (TABLE + 'tiny --seeds=4294967296', 'config.seed', '4294967296', '2**32'),
}


@pytest.mark.usefixtures('datasets')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('datasets')
def test_output_that_is_a_file(refuse):
    refuse('experiments.paper_table --quick --datasets={w}/data/tiny --output_dir={w}/a_file', 'a_file')
