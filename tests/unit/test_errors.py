import subprocess

import pytest

from slr_jax import errors


@pytest.mark.parametrize(
    ('sentence', 'expected'),
    [
        ('a.csv, row 2: found "é 手 👋"', 'a.csv, row 2: found "é 手 👋"'),
        ('two\nlines\tand\xa0blanks', 'two lines and blanks'),
        ('\x1b[31m red \0 \ud800 \u202e', r'\x1b[31m red \x00 \ud800 \u202e'),
    ],
)
def test_what_a_file_holds_is_quoted_in_one_printable_line(sentence, expected):
    assert str(errors.InputError(sentence)) == expected
    assert expected.isprintable()


def test_long_sentences_keep_both_ends():
    sentence = str(errors.InputError(f'a.csv: found {"x" * 10_000}, expected 1'))
    assert len(sentence) <= 2000
    assert sentence.startswith('a.csv: found xx')
    assert sentence.endswith('xx, expected 1')


def test_causes_of_libraries_are_shorter():
    cause = errors.one_line(ValueError(f'begins {"x" * 1000}\nends'))
    assert len(cause) <= 240
    assert cause.startswith('begins x')
    assert cause.endswith('x ends')


@pytest.mark.parametrize(
    'name',
    ['my videos', "it's", '$HOME', 'Gebärden', 'a  b', 'a\nb', 'tab\there', '`ls`', '"a"', 'a;b', 'é  ü'],
)
def test_a_quoted_word_can_be_pasted(name):
    command = ' '.join(str(errors.InputError(f'printf %s {errors.quote(f"--videos={name}")}')).split())
    done = subprocess.run(['bash', '-c', command], capture_output=True, text=True, check=True)
    assert done.stdout == f'--videos={name}'


def test_the_nearest_name_is_meant():
    assert errors.did_you_mean('baselin', ['baseline', 'class_query']) == '; did you mean baseline?'
    assert errors.did_you_mean('xyzzy', ['baseline', 'class_query']) == ''
