"""Harms runs until the time is over, or so many were killed, and counts what became of them."""

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from compacter_jax.checkpoints import layout
from compacter_jax.errors import PreemptedError, StorageError
from experiments import folders
from experiments.soak import harm
from experiments.soak.runs import Left, Start, save_base
from experiments.soak.tally import Tally

METHODS = 'compacter', 'adapter', 'lora', 'bitfit', 'prompt', 'full'
LONGEST = 600.0  # seconds that a start may take
# By how much later an end may come with each start of a run: on a machine that became slower a run
# would else not get on.
STRETCH = 0.25


@dataclass(frozen=True)
class Whole:
  """A run that nothing disturbed: what it left, and the seconds it took once all was compiled."""

  left: Left
  seconds: float


@dataclass
class Soak:
  """Runs of some methods in a folder, harmed by several workers at a time.

  Attributes:
    minutes, kills: when to harm no more: after so long, or so many kills; 0 is no limit.
    say: told a line for every run that ended.
  """

  folder: Path
  methods: tuple[str, ...] = METHODS
  minutes: float = 0.0
  kills: int = 0
  workers: int = 1
  seed: int = 0
  say: Callable[[str], None] = print
  tally: Tally = field(default_factory=Tally)
  killed: int = 0  # also of runs that have not ended

  def run(self) -> Tally:
    """Soaks; what was counted."""
    begin = time.monotonic()
    self._base = save_base(self.folder / 'base')
    with ThreadPoolExecutor(self.workers) as pool:
      wholes = dict(zip(self.methods, pool.map(self._undisturbed, self.methods), strict=True))
      self.tally.methods, self._lock = list(self.methods), threading.Lock()
      # The time counts from here: what came before is not soaking.
      self._until = time.monotonic() + 60 * self.minutes if self.minutes else float('inf')
      for each in [pool.submit(self._work, worker, wholes) for worker in range(self.workers)]:
        each.result()
    self.tally.wall = time.monotonic() - begin
    return self.tally

  def _undisturbed(self, method: str) -> Whole:
    """Twice, so that the second one finds all programs compiled."""
    for name in 'first', 'whole':
      out = self.folder / f'{name}-{method}'
      start = self.start(method, out)
      if code := start.within(LONGEST):
        raise StorageError(
          'A run that nothing disturbed has failed.', where=str(start.log), got=f'exit code {code}'
        )
    return Whole(Left.by(out), start.since())

  def start(self, method: str, out: Path) -> Start:
    """Starts the run of a method in a folder, or lets it go on."""
    return Start.of(method, self._base, out, self.folder / 'programs')

  def note_kill(self) -> None:
    """Counts a kill at once, so that a soak ends after so many."""
    with self._lock:
      self.killed += 1

  def over(self) -> bool:
    """Whether to harm no more."""
    enough = bool(self.kills) and self.killed >= self.kills
    return enough or time.monotonic() >= self._until

  def _work(self, worker: int, wholes: dict[str, Whole]) -> None:
    number = 0
    while not self.over():
      method = self.methods[(worker + number * self.workers) % len(self.methods)]
      name = f'{worker}-{number}-{method}'
      draw = random.Random(f'{self.seed} {name}')
      trial = Trial(self, method, self.folder / name, wholes[method], draw)
      trial.run()
      with self._lock:
        self.tally.add(trial.tally)
        told = self.tally
        self.say(
          f'{told.runs} runs, {told.killed} killed, {told.asked} asked to end, {told.damaged} '
          f'damaged; {told.lost} lost, {told.twice} twice, {told.silent} silent; '
          + ('; '.join(trial.tally.faults) or 'all well')
        )
      number += 1


class Trial:
  """One run that is harmed until it ends."""

  def __init__(self, soak: Soak, method: str, out: Path, whole: Whole, draw: random.Random):
    self._soak, self._method, self._out, self._whole = soak, method, out, whole
    self._draw, self._damaged = draw, set[int]()
    self.tally = Tally()

  def run(self) -> None:
    """Starts it again and again, unharmed once the soak is over."""
    while True:
      start = self._soak.start(self._method, self._out)
      self.tally.starts += 1
      # At any moment of a whole run with equal odds: while it imports, compiles, trains, writes.
      latest = self._whole.seconds * (1 + STRETCH * (self.tally.starts - 1))
      moment = LONGEST if self._soak.over() else self._draw.uniform(0, latest)
      code = start.within(moment)
      if code is None and moment == LONGEST:
        start.process.kill()
        code = start.process.wait()  # which is told as no end that it should have
      elif code is None:
        code = self._harm(start)
      self.tally.seconds += start.since()
      self._look(start.log)
      if code == 0:
        self._compare()
      elif code is not None:
        self._fault(f'{self._out}: exit code {code}')
      if code is not None:
        return

  def _harm(self, start: Start) -> int | None:
    """Ends a start; its exit code, where it is not what that end gives."""
    number, code, seconds = harm.end(start, self._draw)
    if number == signal.SIGKILL:
      self.tally.killed += 1
      self._soak.note_kill()
      expected = {-signal.SIGKILL}
    else:
      self.tally.asked += 1
      self.tally.asked_seconds = max(self.tally.asked_seconds, seconds)
      if seconds > harm.SOON:
        self._fault(f'{self._out}: asked to end, it took {seconds:.1f} s; see {start.log}')
      # Python has not yet begun to listen while it imports.
      expected = {PreemptedError.exit_code, -signal.SIGTERM}
    if code not in expected:
      return code
    checkpoints = self._out / folders.CHECKPOINTS
    ended = (self._out / folders.RESULTS).exists()  # and needs no checkpoints any more
    if checkpoints.exists() and not ended and not self._damaged:
      step = harm.damage(checkpoints, self._draw)
      if step is not None:
        self.tally.damaged += 1
        self._damaged.add(step)
    return None

  def _look(self, log: Path) -> None:
    """Whether what was damaged has been found out."""
    quarantined = layout.look(self._out / folders.CHECKPOINTS).quarantined
    said = log.read_text()
    for step in sorted(self._damaged):
      name = f'quarantine-{step}-'
      if name in said or any(each.startswith(name) for each in quarantined):
        self.tally.seen += 1
        self._damaged.discard(step)

  def _compare(self) -> None:
    """Holds a run that ended against the one that nothing disturbed."""
    self.tally.runs += 1
    self.tally.undisturbed += self._whole.seconds
    left, whole = Left.by(self._out), self._whole.left
    lost, twice = left.lost_and_twice(whole)
    self.tally.lost, self.tally.twice = lost, twice
    parts = 'notes', 'arrays', 'told', 'state'
    differs = [name for name in parts if getattr(left, name) != getattr(whole, name)]
    silent = [f'{self._out}: other {name}' for name in differs]
    silent += [f'{self._out}: damage of step {step} was not seen' for step in self._damaged]
    self.tally.silent += len(silent)
    for text in silent:
      self._fault(text)
    if not silent:
      shutil.rmtree(self._out)
      self._out.with_suffix('.log').unlink()

  def _fault(self, text: str) -> None:
    self.tally.faults.append(text)
