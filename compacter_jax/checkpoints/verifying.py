"""Whether a step is the one that was written: every file of it, to the bit."""

import contextlib
import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compacter_jax.checkpoints import files, layout, manifest
from compacter_jax.checkpoints.files import Sum
from compacter_jax.checkpoints.manifest import Manifest
from compacter_jax.errors import StorageError, WeightsError


@dataclass(frozen=True)
class Finding:
  """What was found out about a step.

  Attributes:
    step: its number.
    path: its folder.
    reason: in one word why it cannot be used; '' for a step that is as it was written.
    told: the same in a sentence, with the file.
    extra: files that do not belong to it. They are not read and do no harm.
  """

  step: int
  path: str
  reason: str = ''
  told: str = ''
  extra: tuple[str, ...] = ()


def verify(folder: str | Path) -> list[Finding]:
  """A finding about each step in a folder, the newest first. Nothing is written or renamed.

  Raises StorageError where a disk denies access, WeightsError for a later version's manifest.
  """
  folder = Path(folder)
  with access(folder):
    return [check(folder, step)[0] for step in reversed(layout.look(folder).steps)]


def check(folder: Path, step: int) -> tuple[Finding, Manifest | None]:
  """Reads every byte of a step; its manifest only if all are right.

  Raises OSError where access is denied or the system lacks something, and WeightsError for the
  manifest of a later version: neither is damage.
  """
  path = folder / str(step)
  try:
    described = manifest.read(path / manifest.NAME)
  except (OSError, ValueError) as error:
    if _is_damage(error) and not isinstance(error, WeightsError):
      reason = 'no-manifest' if isinstance(error, FileNotFoundError) else 'manifest'
      told = getattr(error, 'strerror', None) or str(error)
      return Finding(step, str(path), reason, f'{manifest.NAME}: {told}'), None
    raise
  if described.step != step:
    told = f'{manifest.NAME} is of step {described.step}'
    return Finding(step, str(path), 'other-step', told), None
  # What lies there is compared with the manifest, whose paths are never opened.
  found = {name: entry.path for name, entry in files.walk(path) if name != manifest.NAME}
  extra = tuple(sorted(found.keys() - described.files.keys()))
  for name, wanted in sorted(described.files.items()):
    if reason := _wrong(found, name, wanted):
      return Finding(step, str(path), reason, f'{name}: {reason.replace("-", " ")}', extra), None
  return Finding(step, str(path), extra=extra), described


@contextlib.contextmanager
def access(folder: Path):
  """Turns an OSError of the system into a StorageError that names the folder."""
  try:
    yield
  except StorageError:
    raise
  except OSError as error:
    raise StorageError(
      'These checkpoints cannot be reached.', where=str(folder), got=str(error)
    ) from error


def _wrong(found: Mapping[str, str], name: str, wanted: Sum) -> str:
  """Why a file is not the one that was written, or ''."""
  if name not in found:
    return 'missing-file'
  try:
    got = files.checksum(found[name])
  except OSError as error:
    if _is_damage(error):
      return 'unreadable-file'
    raise
  if got['bytes'] != wanted['bytes']:
    return 'other-size'
  return '' if got == wanted else 'other-bytes'


def _is_damage(error: Exception) -> bool:
  """Whether it is the file's own fault: not that of rights, or of a want of memory or handles."""
  faults = None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO
  return not isinstance(error, OSError) or error.errno in faults
