"""Errors that help: what went wrong, where, what was expected, what was found, and how to mend it.

Every failure that a user can cause is a `CompacterError`. It is raised before any compilation or
write, and the command line prints it without a traceback and exits with its `exit_code`.
"""

from typing import Self


class CompacterError(Exception):
  """An expected failure, told in five parts; empty parts are left out of the message."""

  exit_code = 1

  def __init__(
    self, what: str, *, where: str = '', expected: str = '', got: str = '', fix: str = ''
  ):
    self.what, self.where, self.expected, self.got, self.fix = what, where, expected, got, fix
    parts = ('where', where), ('expected', expected), ('got', got), ('fix', fix)
    super().__init__('\n'.join([what, *(f'  {name}: {text}' for name, text in parts if text)]))

  def moved(self, where: str) -> Self:
    """The same failure, at another place."""
    parts = {'expected': self.expected, 'got': self.got, 'fix': self.fix}
    return type(self)(self.what, where=where, **parts)


class ConfigError(CompacterError, ValueError):
  """A setting that cannot work: unknown key, wrong type, impossible value or combination."""

  exit_code = 2


class DataError(CompacterError, ValueError):
  """A row, label, column, split or text that cannot be used."""

  exit_code = 3


class WeightsError(CompacterError, ValueError):
  """A file of weights, a tokenizer, an adapter or a run that is damaged or of another model."""

  exit_code = 4


class NumericsError(CompacterError, ArithmeticError):
  """A loss or gradient that is not finite."""

  exit_code = 5


class StorageError(CompacterError, OSError):
  """A folder or file that cannot be written."""

  exit_code = 6


class InUseError(StorageError):
  """A folder in which another process is at work."""

  exit_code = 7


class PeerError(CompacterError):
  """Another process of the run is lost, stuck, absent or at work on something else."""

  exit_code = 8


class PreemptedError(CompacterError):
  """The run was asked to end and saved what it has; the same command goes on with it."""

  exit_code = 75
