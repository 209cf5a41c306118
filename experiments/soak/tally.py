"""What a soak counted, and the table of it."""

import dataclasses
import json
from pathlib import Path

from experiments import folders
from experiments.console import duration

TEN_MINUTES = 600.0


@dataclasses.dataclass
class Tally:
  """Counts.

  Attributes:
    methods: configs whose runs were harmed. runs: those that ended. starts: of the command.
    killed, asked: SIGKILLs and SIGTERMs that were sent; a few come as a run ends by itself.
    asked_seconds: the longest that one took to end.
    damaged, seen: checkpoints damaged, and those of them that were found to be.
    lost, twice: examples whose step was never noted, and those whose step was noted again.
    silent: runs that differ in a bit from an undisturbed one, and damage that was not seen.
    faults: everything that must not be, in words.
    seconds: that all starts took, undisturbed: that the same runs take without harm, wall: in all.
  """

  methods: list[str] = dataclasses.field(default_factory=list)
  runs: int = 0
  starts: int = 0
  killed: int = 0
  asked: int = 0
  asked_seconds: float = 0.0
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
    """Signals that were sent."""
    return self.killed + self.asked

  @property
  def cost(self) -> float:
    """Seconds that an end costs: until the run is again where it was."""
    return max(self.seconds - self.undisturbed, 0.0) / max(self.ends, 1)

  def add(self, other: 'Tally') -> None:
    """Adds what another one counted; times of the wall are not added up."""
    for field in dataclasses.fields(self):
      mine, its = getattr(self, field.name), getattr(other, field.name)
      if field.name == 'asked_seconds':
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
      'SIGTERMs at random moments': (
        f'{self.asked:,}; the slowest was gone after {self.asked_seconds:.1f} s'
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
