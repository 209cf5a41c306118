"""Harms runs until the time is over, or so many were killed, and counts what became of them."""

import random
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from compacter_jax.checkpoints import layout
from compacter_jax.errors import StorageError
from experiments import folders
from experiments.soak import disk, harm, keeping
from experiments.soak.ends import KILLED, End
from experiments.soak.runs import Left, save_base
from experiments.soak.starts import Failing, Kind, Start
from experiments.soak.tally import Tally

METHODS = 'compacter', 'adapter', 'lora', 'bitfit', 'prompt', 'full', 'compacter:2', 'full:2'
LONGEST = 600.0  # seconds that a start may take
# By how much later an end may come with each start of a run: on a machine that became slower a run
# would else not get on.
STRETCH = 0.25


@dataclass(frozen=True)
class Whole:
  """A run that nothing disturbed.

  Attributes:
    left: by it. seconds: it took once all was compiled.
    calls: that changed files in its folder; 0 where they cannot be counted.
  """

  left: Left
  seconds: float
  calls: int = 0


@dataclass
class Soak:
  """Runs of some methods in a folder, harmed by several workers at a time.

  Attributes:
    methods: see `Kind`.
    minutes, kills: when to harm no more: after so long, or so many kills; 0 is no limit.
    say: told a line for every run that ended.
    shim: makes a disk fail; see `disk.library`.
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
  shim: Path | None = None

  def run(self) -> Tally:
    """Soaks; what was counted."""
    begin = time.monotonic()
    self._base, self.shim = save_base(self.folder / 'base'), disk.library(self.folder)
    kinds = [Kind.of(each) for each in self.methods]
    with ThreadPoolExecutor(self.workers) as pool:
      wholes = dict(zip(kinds, pool.map(self._undisturbed, kinds), strict=True))
      self.tally.methods, self._lock = list(self.methods), threading.Lock()
      # The time counts from here: what came before is not soaking.
      self._until = time.monotonic() + 60 * self.minutes if self.minutes else float('inf')
      for each in [pool.submit(self._work, worker, wholes) for worker in range(self.workers)]:
        each.result()
    self.tally.wall = time.monotonic() - begin
    return self.tally

  def _undisturbed(self, kind: Kind) -> Whole:
    """Twice, so that the second one finds all programs compiled."""
    counting = Failing(self.shim) if self.shim else None
    for name in 'first', 'whole':
      out = self.folder / f'{name}-{kind.method}-{kind.hosts}'
      start = self.start(kind, out, counting)
      codes = start.within(LONGEST) or start.kill()
      if any(codes):
        raise StorageError(
          'A run that nothing disturbed has failed.',
          where=str(start.logs[0]),
          got=f'exit codes {codes}',
        )
    calls = re.search(rf'{keeping.CALLS} (\d+)', start.told())
    return Whole(Left.by(out), start.since(), int(calls[1]) if calls else 0)

  def start(self, kind: Kind, out: Path, failing: Failing | None = None) -> Start:
    """Starts a run in a folder, or lets it go on."""
    return Start.of(kind, self._base, out, self.folder / 'programs', failing)

  def note_kill(self) -> None:
    """Counts a kill at once, so that a soak ends after so many."""
    with self._lock:
      self.killed += 1

  def over(self) -> bool:
    """Whether to harm no more."""
    enough = bool(self.kills) and self.killed >= self.kills
    return enough or time.monotonic() >= self._until

  def _work(self, worker: int, wholes: dict[Kind, Whole]) -> None:
    kinds, number = list(wholes), 0
    while not self.over():
      kind = kinds[(worker + number * self.workers) % len(kinds)]
      name = f'{worker}-{number}-{kind.method}-{kind.hosts}'
      draw = random.Random(f'{self.seed} {name}')
      trial = Trial(self, kind, self.folder / name, wholes[kind], draw)
      trial.run()
      with self._lock:
        self.tally.add(trial.tally)
        told = self.tally
        self.say(
          f'{told.runs} runs, {told.killed} killed, {told.asked} asked to end, {told.stopped} '
          f'stopped, {told.failed} disks failed, {told.damaged} steps damaged; {told.lost} lost, '
          f'{told.twice} twice, {told.silent} silent; '
          + ('; '.join(trial.tally.faults) or 'all well')
        )
      number += 1


class Trial:
  """One run that is harmed until it ends."""

  def __init__(self, soak: Soak, kind: Kind, out: Path, whole: Whole, draw: random.Random):
    self._soak, self._kind, self._out, self._whole = soak, kind, out, whole
    self._draw, self._damaged = draw, set[int]()
    self.tally = Tally()

  def run(self) -> None:
    """Starts it again and again, unharmed once the soak is over."""
    codes = None
    while codes is None:
      failing = self._failing()
      start = self._soak.start(self._kind, self._out, failing)
      self.tally.starts += 1
      if failing:
        codes = self._note(harm.failed(start, failing, LONGEST))
      else:
        codes = self._until_harmed(start)
      self.tally.seconds += start.since()
      self._look(start.logs[0])
      if codes and any(codes):
        self._fault(f'exit codes {codes}')
      elif codes:
        self._compare()
        if not self.tally.silent:
          self._remove(start)

  def _failing(self) -> Failing | None:
    """Of some starts the disk fails."""
    soak, whole = self._soak, self._whole
    if soak.over() or not soak.shim or self._draw.random() >= harm.FAILS:
      return None
    return harm.failing(soak.shim, whole.calls, self._kind.hosts, self._draw)

  def _until_harmed(self, start: Start) -> list[int] | None:
    """The exit codes of a start that ended by itself, or failed; None if it was harmed."""
    # At any moment of a whole run with equal odds: while it imports, compiles, trains, writes.
    latest = self._whole.seconds * (1 + STRETCH * (self.tally.starts - 1))
    if self._soak.over():
      return start.within(LONGEST) or start.kill()  # which is told as no end that it should have
    codes = start.within(self._draw.uniform(0, latest))
    return codes or self._note(harm.end(start, self._draw))

  def _note(self, end: End) -> list[int] | None:
    """Counts an end; None if the run is to go on, the exit codes if the harm came too late."""
    if not any(end.codes):
      return end.codes
    self.tally.count(end, len(end.codes) > 1)
    if end.how == KILLED:
      self._soak.note_kill()
    if end.wrong:
      self._fault(end.wrong)
      return []
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
    silent = [f'other {name}' for name in differs]
    silent += [f'damage of step {step} was not seen' for step in self._damaged]
    self.tally.silent += len(silent)
    for text in silent:
      self._fault(text)

  def _remove(self, start: Start) -> None:
    shutil.rmtree(self._out)
    for log in start.logs:
      log.unlink()

  def _fault(self, text: str) -> None:
    """The name of the run tells its folder and logs; a record is of any machine."""
    self.tally.faults.append(f'{self._out.name}: {text}')
