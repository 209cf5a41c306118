"""How a start ended that was harmed."""

from typing import NamedTuple

KILLED, ASKED, STOPPED, FAILED = 'killed', 'asked', 'stopped', 'failed'


class End(NamedTuple):
  """How a start ended that was harmed.

  Attributes:
    how: it was harmed; '' if that came too late.
    codes: of all processes.
    seconds: from then until all were gone, but for one that was stopped; 0 for hosts that had not
      found each other yet, which takes as long as they are told to wait.
    wrong: what should not be, in words.
  """

  how: str
  codes: list[int]
  seconds: float = 0.0
  wrong: str = ''
