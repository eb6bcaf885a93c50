"""What was found in a case of fault injection."""

from collections import Counter
from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import os
import shutil

import numpy as np

from experiments.faults.commands import Command, World

# How often a fault is tried at most for each time that it has to hit.
MAX_TRIES_PER_HIT = 4


@dataclasses.dataclass
class Outcome:
    """What was found in a case.

    Attributes:
        tried: how often.
        hit: how often the fault fell into what it is to disturb.
        where: how often it fell where.
        failures: what is wrong, each with what it needs to be seen again.
        left_out: why the case was not tried; '' where it was.
    """

    tried: int = 0
    where: Counter[str] = dataclasses.field(default_factory=Counter)
    hit: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    left_out: str = ''

    def add(self, where: str, problems: list[str], what: str, *, hit: bool = True) -> None:
        """Counts a try; `what` says how the problems, if any, are seen again."""
        self.tried += 1
        self.hit += hit
        self.where[where] += 1
        self.fail(problems, what)

    def fail(self, problems: list[str], what: str) -> None:
        """Notes problems."""
        self.failures += [f'{what}: {problem}' for problem in problems]


class LeftOut(Exception):
    """Why a case cannot be tried here."""


# Disturbs a command: of the world, a generator and --kills.
Disturbance = Callable[[World, np.random.Generator, int], Outcome]


@contextlib.contextmanager
def fresh_output(world: World, outcome: Outcome) -> Iterator[str]:
    """A path for the output of a command; what is there at the end is kept where the outcome got new failures."""
    num_failures = len(outcome.failures)
    with world.fresh_output() as output:
        yield output
        if len(outcome.failures) > num_failures:
            kept = world.path('failed', os.path.basename(os.path.dirname(output)))
            shutil.copytree(os.path.dirname(output), kept, symlinks=True)
            outcome.failures[-1] += f' (kept in {kept})'


def finish(world: World, command: Command, output: str, outcome: Outcome, what: str) -> None:
    """Runs a disturbed command to its end; its output must be that of an undisturbed one."""
    expected = world.expected(command).output
    was_done = command.fraction_done(output, expected) == 1
    ended = command.run(output)
    if command.refuses_existing and was_done:
        problems = ended.refusal_problems(output, 'exists already')
    else:
        problems = ended.success_problems()
    outcome.fail(problems or command.compare(output, expected), what)
