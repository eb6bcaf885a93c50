"""Commands of the project on small data: how they are started, and how their output is compared.

Each writes one output, a folder. `World.expected` is that of a run that nothing disturbed.
"""

import atexit
from collections.abc import Callable, Iterator, Sequence
import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from configs import synthetic
from experiments.faults import outputs
from preprocessing import clips as clips_lib
from preprocessing.extraction import video_files
from preprocessing.formats import tfds_writer
from slr_jax import errors, files

_CONFIG = pathlib.Path(synthetic.__file__).resolve()
_ROOT = _CONFIG.parents[1]
NUM_EPOCHS = 20
SEEDS = (1, 2)

_DATASET = 'signs'
_MODEL = {'num_layers': 1, 'mlp_dim': 8, 'batch_size': 6}
# Runs a module that writes for a few milliseconds only, and disturbs it before one of its operations on files of the
# output: sends itself a signal, or for 0 moves the output away. For operation 0, prints how many there are.
_DISTURB = """
import atexit, os, runpy, sys
number, output, operation, *sys.argv = sys.argv[1:]
seen, is_done = 0, operation == '0'
def look(event, arguments):
    global seen, is_done
    operations = ('open', 'os.mkdir', 'os.rename', 'os.remove', 'os.rmdir', 'shutil.rmtree')
    if event not in operations or not str(arguments[0]).startswith(output):
        return
    seen += 1
    if is_done or seen < int(operation):
        return
    if number != '0':
        is_done = True
        os.kill(os.getpid(), int(number))
    elif os.path.isdir(output):
        is_done = True
        os.rename(output, output + '_moved')
if is_done:
    atexit.register(lambda: print(seen))
sys.addaudithook(look)
runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
"""
# Of the videos: how many, and the first and last of their frames.
_NUM_VIDEOS, _FRAMES = 4, (20, 23)
_POLL_SECONDS = 0.005
_LONGEST_SECONDS = 600.0


@dataclasses.dataclass(frozen=True)
class Ended:
    """A command that ended: its exit status, 0 only where that of all processes is, and what it printed."""

    status: int
    stdout: str
    stderr: str

    def refusal_problems(self, *words: str) -> list[str]:
        """What is wrong unless it ended with status 1 and one sentence that has these words."""
        if self.status != 1 or not self.stderr.startswith('error: ') or self.stderr.count('\n') != 1:
            return [f'expected status 1 and one sentence, found status {self.status} and {_end(self.stderr)}']
        return [f'the sentence lacks {word!r}: {self.stderr.strip()}' for word in words if word not in self.stderr]

    def success_problems(self) -> list[str]:
        """What is wrong unless it ended with status 0."""
        return [f'expected status 0, found {self.status} and {_end(self.stderr)}'] if self.status else []


def _end(text: str) -> str:
    return repr(text[-500:])


class Running:
    """The processes of a command, each in a session of its own."""

    def __init__(self, argvs: Sequence[Sequence[str]]) -> None:
        self._logs = tempfile.TemporaryDirectory()
        self.processes = [self._start(i, argv) for i, argv in enumerate(argvs)]
        # An interrupt does not reach them.
        atexit.register(self._kill)

    def _start(self, i: int, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        with open(self._log(i, 'out'), 'w') as out, open(self._log(i, 'err'), 'w') as err:
            return subprocess.Popen(argv, stdout=out, stderr=err, cwd=_ROOT, start_new_session=True)

    def _log(self, i: int, stream: str) -> str:
        return os.path.join(self._logs.name, f'{i}.{stream}')

    @property
    def pid(self) -> int:
        """Of the first process."""
        return self.processes[0].pid

    def has_ended(self) -> bool:
        """Whether all processes have."""
        return all([process.poll() is not None for process in self.processes])

    def wait(self, seconds: float, event: Callable[[], bool] = lambda: False) -> bool:
        """Waits until an event, whose answer is returned, or until all processes ended, or for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.has_ended():
            if event():
                return True
            time.sleep(_POLL_SECONDS)
        return event()

    def send(self, number: signal.Signals, chosen: Sequence[int] = ()) -> None:
        """Sends a signal to the chosen processes, by default to all."""
        for i, process in enumerate(self.processes):
            if not chosen or i in chosen:
                process.send_signal(number)

    def end(self, seconds: float = _LONGEST_SECONDS) -> Ended:
        """Waits for the end, and kills what does not end; the status is then that of a killed process."""
        self.wait(seconds)
        self._kill()
        atexit.unregister(self._kill)
        statuses = [process.wait() for process in self.processes]
        printed = {'out': '', 'err': ''}
        for stream in printed:
            for i in range(len(self.processes)):
                with open(self._log(i, stream), encoding='utf-8', errors='replace') as file:
                    printed[stream] += file.read()
        self._logs.cleanup()
        return Ended(next((status for status in statuses if status), 0), printed['out'], printed['err'])

    def _kill(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def has_children(self) -> bool:
        """Whether a process that these have started still runs."""
        sessions = {process.pid for process in self.processes}
        for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
            with contextlib.suppress(OSError):
                state, _, _, session, *_ = path.read_text().rsplit(')', 1)[1].split()
                if int(session) in sessions and int(path.parent.name) not in sessions and state not in 'ZX':
                    return True
        return False


# --- The commands


@dataclasses.dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: of the row in the table.
        argvs: output -> the command lines of its processes.
        num_epochs: of a training, whose output is a workdir; 0 for other commands.
        writes_briefly: whether it writes for so short a time that a moment that is drawn would hardly hit it.
        refuses_existing: whether it ends with a sentence where its output is there.
        prepare: makes what it takes, where that is missing.
    """

    name: str
    argvs: Callable[[str], list[list[str]]]
    num_epochs: int = 0
    writes_briefly: bool = False
    refuses_existing: bool = False
    prepare: Callable[[], object] = lambda: None

    @property
    def is_training(self) -> bool:
        """Whether the output is a workdir."""
        return self.num_epochs > 0

    def run(self, output: str) -> Ended:
        """Runs it to its end."""
        return Running(self.argvs(output)).end()

    def end_undisturbed(self, running: Running) -> Ended:
        """Waits for the end of an undisturbed run of it; InputError where it fails."""
        ended = running.end()
        problems = ended.success_problems()
        if problems:
            raise errors.InputError(f'{self.name} cannot be run undisturbed: {problems[0]}')
        return ended

    def disturbed_argvs(self, output: str, operation: int, number: int = 0) -> list[list[str]]:
        """Its command lines, disturbed before a file operation, from 1: by a signal, for 0 by moving the output.

        For operation 0 undisturbed: then the last line that it prints is how many operations there are.
        """
        ((python, _, *module_and_options),) = self.argvs(output)
        return [[python, '-c', _DISTURB, str(int(number)), output, str(operation), *module_and_options]]

    def compare(self, output: str, expected: str) -> list[str]:
        """How a finished output differs from the one expected."""
        if self.is_training:
            return outputs.compare_workdirs(output, expected)
        return outputs.compare_files(output, expected)

    def check_partial(self, output: str, expected: str) -> list[str]:
        """What of an output whose command was killed is half-written."""
        if self.is_training:
            return outputs.check_partial_workdir(output, expected)
        return outputs.compare_files(output, expected, partial=True)

    def fraction_done(self, output: str, expected: str) -> float:
        """How much of the output is there: of the epochs, or of the files."""
        if not self.is_training:
            wanted = outputs.paths_in(expected)
            return len(wanted & outputs.paths_in(output)) / len(wanted)
        paths = [os.path.join(output, run, 'metrics.csv') for run in outputs.run_names(expected)]
        num_rows = sum(len(outputs.read_rows(path)) for path in paths if os.path.exists(path))
        return num_rows / (self.num_epochs * len(paths))


@dataclasses.dataclass(frozen=True)
class Expected:
    """An undisturbed run.

    Attributes:
        output: what it wrote.
        start_seconds: from its start until it began to write.
        write_seconds: from then to its end.
        file_operations: on its output, of a command that writes briefly; else 0.
    """

    output: str
    start_seconds: float
    write_seconds: float
    file_operations: int


def has_begun(running: Running, output: str, before: set[str]) -> bool:
    """Whether a command has taken the lock of its output, or has written something since it was as `before`."""
    paths = outputs.paths_in(output)
    locks = [path for path in paths if os.path.basename(path) == outputs.LOCK]
    owners = [files.read_bytes(os.path.join(output, path)) or b'' for path in locks]
    is_mine = any(owner.startswith(f'process {running.pid} '.encode()) for owner in owners)
    return is_mine or bool(paths - before - set(locks))


class World:
    """The data that the commands take, made where it is missing, and their undisturbed runs.

    Args:
        directory: for all of it.
        seed: of the dataset.
        num_epochs: of the trainings.
        videos: folder of at least four videos of people, or None.
        model_dir: of MediaPipe's models, or None.
    """

    def __init__(
        self,
        directory: str,
        seed: int,
        num_epochs: int = NUM_EPOCHS,
        videos: str | None = None,
        model_dir: str | None = None,
    ) -> None:
        self._num_epochs, self._seed = num_epochs, seed
        self._directory = os.path.abspath(directory)
        os.makedirs(self.path('expected'), exist_ok=True)
        os.environ['JAX_COMPILATION_CACHE_DIR'] = self.path('compiled')
        self.commands: dict[str, Command] = {
            command.name: command for command in self._make_commands(videos, model_dir)
        }

    def _make_dataset(self) -> None:
        if os.path.exists(self.path('archive.npz')):
            return
        shutil.rmtree(self.path('data'), ignore_errors=True)
        made = [f'--data_dir={self.path("data")}', f'--name={_DATASET}', '--num_classes=3', '--clips_per_class=6,2,2']
        exported = [f'--dataset={self.dataset}', '--format=npz', f'--output={self.path("archive.npz")}']
        for argv in (
            _argv('preprocessing.synthetic', f'--seed={self._seed}', *made),
            _argv('preprocessing.export_dataset', *exported),
        ):
            problems = Running([argv]).end().success_problems()
            if problems:
                raise errors.InputError(f'{argv[2]}: {problems[0]}')

    def path(self, *names: str) -> str:
        """A path in the folder."""
        return os.path.join(self._directory, *names)

    @property
    def dataset(self) -> str:
        """The TFDS directory."""
        return self.path('data', _DATASET, tfds_writer.VERSION)

    @property
    def trained(self) -> str:
        """The workdir of a finished run, once `expected` has made that of `train`."""
        return self._expected_output('train')

    def _expected_output(self, name: str) -> str:
        return self.path('expected', name, 'second', 'output')

    def expected(self, command: Command) -> Expected:
        """The undisturbed run of a command, made where it is missing.

        Raises:
            InputError: it fails, or two such runs differ.
        """
        path = self.path('expected', f'{command.name}.json')
        first, output = self.path('expected', command.name, 'first', 'output'), self._expected_output(command.name)
        if not os.path.exists(path):
            command.prepare()
            shutil.rmtree(self.path('expected', command.name), ignore_errors=True)
            for folder in (first, output):
                os.makedirs(os.path.dirname(folder))
            # Compiles what is not compiled yet.
            file_operations = _count_operations(command, first)
            seconds = _time(command, output)
            problems = command.compare(output, first)
            if problems:
                raise errors.InputError(f'two undisturbed runs of {command.name} differ: {"; ".join(problems)}')
            times = {'start_seconds': seconds[0], 'write_seconds': seconds[1]}
            files.write_json(path, {**times, 'file_operations': file_operations})
        fields = ('start_seconds', 'write_seconds', 'file_operations')
        found = files.read_json(path, fields=fields)
        return Expected(output, *(found[field] for field in fields))

    @contextlib.contextmanager
    def fresh_output(self) -> Iterator[str]:
        """A path for the output of a command, in a folder of its own that is removed at the end."""
        with tempfile.TemporaryDirectory(dir=self._directory, ignore_cleanup_errors=True) as folder:
            yield os.path.join(folder, 'output')

    def train_argv(self, output: str, **fields: Any) -> list[str]:
        """The command line of a training."""
        fields = _MODEL | {'num_epochs': self._num_epochs, 'dataset': self.dataset} | fields
        options = [f'--config.{name}={value}' for name, value in fields.items()]
        return _argv('slr_jax.train', f'--config={_CONFIG}', f'--workdir={output}', *options)

    def _train_in_two_processes(self, output: str) -> list[list[str]]:
        with socket.socket() as free:
            free.bind(('localhost', 0))
            coordinator = f'localhost:{free.getsockname()[1]}'
        return [
            [*self.train_argv(output), f'--coordinator={coordinator}', '--num_processes=2', f'--process_id={number}']
            for number in range(2)
        ]

    def evaluate_argv(self, output: str, workdir: str, *options: str) -> list[str]:
        """The command line of a test."""
        return _argv('slr_jax.evaluate', f'--workdir={workdir}', f'--output_dir={output}', *options)

    def _make_commands(self, videos: str | None, model_dir: str | None) -> Iterator[Command]:
        seeds: dict[str, Any] = {'seeds': ','.join(map(str, SEEDS)), 'runs_at_once': len(SEEDS)}
        num_epochs = self._num_epochs
        given = [f'--workdir={self.trained}']
        trainings: dict[str, Callable[[str], list[list[str]]]] = {
            'train': lambda output: [self.train_argv(output)],
            'train_seeds': lambda output: [self.train_argv(output, **seeds)],
            'train_two_processes': self._train_in_two_processes,
        }
        for name, argvs in trainings.items():
            yield Command(name, argvs, num_epochs, prepare=self._make_dataset)
        others: dict[str, Callable[[str], list[list[str]]]] = {
            'evaluate': lambda output: [self.evaluate_argv(output, self.trained)],
            'interpret': lambda output: [_argv('slr_jax.interpret', *given, f'--output_dir={output}')],
            'export': lambda output: [_argv('slr_jax.export', *given, f'--output={output}')],
        }
        for name, argvs in others.items():
            yield Command(name, argvs, writes_briefly=True, prepare=lambda: self.expected(self.commands['train']))
        archive = [f'--input={self.path("archive.npz")}', '--source=npz', f'--name={_DATASET}']
        yield Command(
            'build_dataset',
            lambda output: [_argv('preprocessing.build_dataset', *archive, f'--data_dir={output}')],
            writes_briefly=True,
            refuses_existing=True,
            prepare=self._make_dataset,
        )
        if videos and model_dir:
            extract = [f'--videos={os.path.abspath(videos)}', f'--model_dir={os.path.abspath(model_dir)}']
            extract += [f'--clips={self.path("clips.csv")}', '--num_workers=1']

            def write_clips() -> None:
                clips_lib.write_clips(self.path('clips.csv'), _few_frames(videos))

            yield Command(
                'extract_landmarks',
                lambda output: [_argv('preprocessing.extract_landmarks', *extract, f'--output={output}')],
                prepare=write_clips,
            )
            yield Command(
                'videos_to_dataset',
                lambda output: [
                    _argv('preprocessing.videos_to_dataset', *extract, '--name=own', f'--data_dir={output}')
                ],
                prepare=write_clips,
            )


def _few_frames(videos: str) -> list[clips_lib.Clip]:
    """A clips table of a few frames of each of the first videos of a folder."""
    found = sorted(video_files.find_videos(videos))[:_NUM_VIDEOS]
    if len(found) < _NUM_VIDEOS:
        raise errors.InputError(f'--videos: {videos} has {len(found)} videos, expected at least {_NUM_VIDEOS}')
    splits = ['train', 'train', 'validation', 'test']
    return [
        clips_lib.Clip(f'clip_{i}', file, i % 2, f'sign_{i % 2}', split, frame_start=_FRAMES[0], frame_end=_FRAMES[1])
        for i, (file, split) in enumerate(zip(found, splits, strict=True))
    ]


def _argv(module: str, *options: str) -> list[str]:
    return [sys.executable, '-m', module, *options]


def _count_operations(command: Command, output: str) -> int:
    """Runs a command; its file operations on its output where it writes briefly, else 0."""
    running = Running(command.disturbed_argvs(output, 0) if command.writes_briefly else command.argvs(output))
    ended = command.end_undisturbed(running)
    return int(ended.stdout.splitlines()[-1]) if command.writes_briefly else 0


def _time(command: Command, output: str) -> tuple[float, float]:
    """Runs a command; the seconds until it began to write, and from then to its end."""
    start = time.monotonic()
    running = Running(command.argvs(output))
    running.wait(_LONGEST_SECONDS, lambda: has_begun(running, output, set()))
    begun = time.monotonic()
    command.end_undisturbed(running)
    return begun - start, time.monotonic() - begun
