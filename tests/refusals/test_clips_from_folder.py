"""Folders of videos that are refused; tests/unit/test_clips_from_folder.py has more."""

import pytest

FOLDER = 'preprocessing.clips_from_folder --output={out}/clips.csv --videos={w}/'

CASES = {
    'no flags': ('preprocessing.clips_from_folder', '--videos', '--output'),
    'no such folder': (FOLDER + 'nowhere', '{w}/nowhere', 'directory'),
    'empty folder': (FOLDER + 'empty_directory', '{w}/empty_directory', 'folders'),
    'too few signers': (FOLDER + 'videos --split_by=signer', 'signers', '1'),
    'argument without a flag': (FOLDER + 'videos surplus', "'surplus'", '--name=value'),
    'output is a directory': (
        'preprocessing.clips_from_folder --videos={w}/videos --output={w}/empty_directory',
        *('{w}/empty_directory', 'Is a directory'),
    ),
}


@pytest.mark.usefixtures('videos')
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_refused(refuse, case):
    refuse(*case)


@pytest.mark.usefixtures('videos')
def test_good_folder_is_taken(accept):
    accept(FOLDER + 'videos')
