"""What a soak counted, and the table of it."""

import dataclasses
import json
from pathlib import Path

from experiments import folders
from experiments.console import duration
from experiments.soak.ends import ASKED, FAILED, KILLED, End

TEN_MINUTES = 600.0


@dataclasses.dataclass
class Tally:
  """Counts.

  Attributes:
    methods: configs whose runs were harmed. runs: those that ended. starts: of the command.
    killed, asked, stopped: SIGKILLs, SIGTERMs and SIGSTOPs that were sent, each to one process.
    failed: disks that were full or broken.
    of_hosts: those of all these that befell one of two hosts.
    asked_seconds: the longest until all had ended that were asked. lost_seconds: the longest until
    the others had ended, of hosts that were killed or stopped. failed_seconds: of failing disks.
    damaged, seen: checkpoints damaged, and those of them that were found to be.
    lost, twice: examples whose step was never noted, and those whose step was noted again.
    silent: runs that differ in a bit from an undisturbed one, and damage that was not seen.
    faults: everything that must not be, in words, with names of runs and not of folders.
    seconds: that all starts took, undisturbed: that the same runs take without harm, wall: in all.
  """

  methods: list[str] = dataclasses.field(default_factory=list)
  runs: int = 0
  starts: int = 0
  killed: int = 0
  asked: int = 0
  stopped: int = 0
  failed: int = 0
  of_hosts: int = 0
  asked_seconds: float = 0.0
  lost_seconds: float = 0.0
  failed_seconds: float = 0.0
  damaged: int = 0
  seen: int = 0
  lost: int = 0
  twice: int = 0
  silent: int = 0
  faults: list[str] = dataclasses.field(default_factory=list)
  seconds: float = 0.0
  undisturbed: float = 0.0
  wall: float = 0.0

  @property
  def ends(self) -> int:
    """Starts that were harmed."""
    return self.killed + self.asked + self.stopped + self.failed

  @property
  def cost(self) -> float:
    """Seconds that an end costs: until the run is again where it was."""
    return max(self.seconds - self.undisturbed, 0.0) / max(self.ends, 1)

  def count(self, end: End, several: bool) -> None:
    """Counts how a start ended.  several: on hosts."""
    setattr(self, end.how, getattr(self, end.how) + 1)
    self.of_hosts += several
    name = f'{end.how if end.how in (ASKED, FAILED) else "lost"}_seconds'
    if several or end.how != KILLED:  # a process that is killed alone is lost to no one
      setattr(self, name, max(getattr(self, name), end.seconds))

  def add(self, other: 'Tally') -> None:
    """Adds what another one counted; times of the wall are not added up."""
    for field in dataclasses.fields(self):
      mine, its = getattr(self, field.name), getattr(other, field.name)
      if field.name.endswith('_seconds'):
        setattr(self, field.name, max(mine, its))
      elif field.name not in ('methods', 'wall'):
        setattr(self, field.name, mine + its)

  @classmethod
  def read(cls, path: Path) -> 'Tally':
    """The counts that `save` wrote."""
    return cls(**json.loads(path.read_text()))

  def save(self, path: Path) -> None:
    """Writes the counts as JSON."""
    folders.write_json(path, dataclasses.asdict(self))

  def markdown(self) -> str:
    """The table."""
    goodput = TEN_MINUTES / (TEN_MINUTES + self.cost)
    rows = {
      'time': duration(self.wall),
      'runs that ended': f'{self.runs:,}, of {", ".join(self.methods)}',
      'starts': f'{self.starts:,}',
      'SIGKILLs at random moments': f'{self.killed:,}',
      'SIGTERMs at random moments': f'{self.asked:,}; {_slowest(self.asked_seconds)}',
      'SIGSTOPs at random moments': f'{self.stopped:,}',
      'disks full or broken from a random call on': (
        f'{self.failed:,}; {_slowest(self.failed_seconds)}'
      ),
      'of all these on one of two hosts': (
        f'{self.of_hosts:,}; where one was killed or stopped, {_slowest(self.lost_seconds)}'
      ),
      'checkpoints damaged': f'{self.damaged:,}; seen {self.seen:,}',
      'examples lost': f'{self.lost:,}',
      'examples trained on twice': f'{self.twice:,}',
      'silent corruptions': f'{self.silent:,}',
      'manual actions': f'{len(self.faults):,}',
      'an end costs': f'{self.cost:.1f} s, with imports and compiled programs from a cache',
      'goodput, with one end in ten minutes': f'{goodput:.1%}',
    }
    return '\n'.join(['| | |', '|---|---|', *(f'| {k} | {v} |' for k, v in rows.items())])


def _slowest(seconds: float) -> str:
  return f'all were gone after {seconds:.1f} s at most'
