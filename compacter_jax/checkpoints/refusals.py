"""Why a run cannot go on with the steps it finds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from compacter_jax.checkpoints.verifying import Finding
from compacter_jax.errors import ConfigError, WeightsError

MOST = 8  # steps that are listed


def nothing_left(folder: Path, bad: Sequence[Finding], before: Sequence[str]) -> WeightsError:
  """All steps are damaged: those found now, and the names of those put in quarantine before."""
  lines = [f'step {each.step}: {each.reason}: {each.told}' for each in bad] + list(before)
  more = f'\n    and {len(lines) - MOST} more' if len(lines) > MOST else ''
  return WeightsError(
    'Of the checkpoints of this run none can be used.',
    where=str(folder),
    got=f'{len(lines)} damaged\n    ' + '\n    '.join(lines[:MOST]) + more,
    fix='bring back a copy of one, or start anew in another folder',
  )


def another_run(path: Path, differences: str) -> ConfigError:
  """A step is of a run with other settings or data."""
  return ConfigError(
    'These checkpoints are of another run.',
    where=str(path),
    expected='all that makes this run the same as that one',
    got=f'{differences} (checkpoint -> now)',
    fix='take another folder, or the settings and data of that run to go on with it',
  )


def unreadable(path: Path, versions: Mapping[str, str], error: Exception) -> WeightsError:
  """A step is intact, but the libraries cannot read it."""
  return WeightsError(
    'This checkpoint cannot be read, though it is as it was written.',
    where=str(path),
    expected='versions as ' + ', '.join(f'{name} {version}' for name, version in versions.items()),
    got=f'{type(error).__name__}: {str(error)[:500]}',
  )
