"""How a process runs: memory, compiled programs, the other processes of a training, and signals."""

from collections.abc import Callable, Iterator
import contextlib
import ctypes
import itertools
import os
import platform
import signal
import sys
import threading
import warnings

import jax
from jax.experimental import multihost_utils

from slr_jax import errors, stopping

# How long a process waits for the others.
_JOIN_SECONDS = 300


def tune_malloc() -> None:
    """Makes glibc keep the memory that a step frees for the next one, in large pages.

    By default it gives large blocks back, and the kernel clears them again, page by page, at every step: on a CPU, a
    third of a step of one clip and a fifth of one of 32. To be called before jax starts its threads.
    """
    trim_threshold, mmap_max, arena_max = -1, -4, -8
    huge_pages, reserved, page = 14, 1 << 30, 4096
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        for option, value in ((arena_max, 1), (mmap_max, 0), (trim_threshold, 2**31 - 1)):
            libc.mallopt(option, value)
        # The range stays reserved when it is freed; it takes no memory before it is used.
        block = libc.malloc(ctypes.c_size_t(reserved))
        if block:
            start = -(-block // page) * page
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(reserved - page), huge_pages)
            libc.free(ctypes.c_void_p(block))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def cpu_model() -> str:
    """The model of the CPU, as far as the system knows it."""
    with contextlib.suppress(OSError), open('/proc/cpuinfo', encoding='utf-8') as lines:
        for line in lines:
            if line.startswith('model name'):
                return line.split(':')[1].strip()
    return platform.processor() or platform.machine()


def divide_cpu(num_devices: int) -> None:
    """Divides the cores of a CPU into so many devices; of one, leaves them as they are.

    Raises:
        InputError: jax has already begun with another number of them.
    """
    if num_devices == 1:
        return
    flags = os.environ.get('XLA_FLAGS', '')
    if num_devices >= cores() and '--xla_cpu_multi_thread_eigen' not in flags:
        # Threads of a device would only wait for those of the others.
        os.environ['XLA_FLAGS'] = f'{flags} --xla_cpu_multi_thread_eigen=false'.strip()
    # An error where jax has begun.
    with contextlib.suppress(RuntimeError):
        jax.config.update('jax_num_cpu_devices', num_devices)
    found = jax.local_device_count()
    if jax.default_backend() == 'cpu' and found != num_devices:
        raise errors.InputError(
            f'config.cpu_devices is {num_devices}, but jax already runs with {found} in this process; start another'
        )


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, or in JAX_COMPILATION_CACHE_DIR."""
    if not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        folder = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
        jax.config.update('jax_compilation_cache_dir', os.path.join(folder, 'slr_jax'))
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
    # Where the folder cannot be used, programs are compiled.
    warnings.filterwarnings('ignore', message='Error (reading|writing) persistent compilation cache')


def join_processes(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the processes that train together; all but the first then print nothing.

    Args:
        coordinator: HOST:PORT of the first process; None for what the environment (Slurm, Open MPI, TPU) says.
        num_processes: of the training; None likewise.
        process_id: of this process, from 0; None likewise.

    Raises:
        InputError: the numbers do not fit each other, or the processes cannot be joined.
    """
    if process_id is not None and num_processes is not None and process_id >= num_processes:
        raise errors.InputError(f'--process_id is {process_id}, expected below --num_processes, {num_processes}')
    deadline = threading.Timer(_JOIN_SECONDS, _give_up_joining)
    deadline.daemon = True
    deadline.start()
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=2 * _JOIN_SECONDS,
            # Where one process fails, the others need not wait for minutes.
            shutdown_timeout_seconds=30,
        )
    except (ValueError, RuntimeError) as error:
        raise errors.InputError(f'the other processes cannot be joined: {errors.one_line(error)}') from error
    finally:
        deadline.cancel()
    if jax.process_index():
        sys.stdout = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115


def _give_up_joining() -> None:
    """Ends the process from another thread: jax's own timeout aborts it with a stack trace."""
    sentence = f'error: the other processes did not join within {_JOIN_SECONDS} s; were all of them started?'
    print(sentence, file=sys.stderr, flush=True)
    os._exit(1)


@contextlib.contextmanager
def noting_signals() -> Iterator[Callable[[], bool]]:
    """Notes SIGTERM, by which schedulers announce that a machine is taken, and in a command SIGINT, too.

    Elsewhere, such as in a notebook, SIGINT raises KeyboardInterrupt as always. Gives a function that says whether to
    save and end, to be called before each step; of several processes all find the same, at the same step, whichever got
    the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    handlers = {}
    steps, noted = itertools.count(), threading.Event()

    def note(number: int, _: object) -> None:
        stopping.received.append(number)
        noted.set()
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    # jax catches SIGTERM since several processes were joined.
    numbers = [signal.SIGTERM] if jax.process_count() == 1 else []
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        numbers.append(signal.SIGINT)
    try:
        for number in numbers:
            handlers[number] = signal.signal(number, note)
        if jax.process_count() > 1:
            yield lambda: multihost_utils.reached_preemption_sync_point(next(steps))
        else:
            yield noted.is_set
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
