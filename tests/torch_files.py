"""experiments/fuzzing/torch_files.py, by the name that scripts of users' cases import."""

from experiments.fuzzing.torch_files import module, save, save_legacy, save_pickle, state_dict, wrap  # noqa: F401
