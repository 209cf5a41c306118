"""Whether a folder is what was written: a run, an adapter, a T5. It is read as the library does.

Nothing is written, and no link that leads out of the folder is followed.
"""

import fnmatch
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compacter_jax import adapter_file, data, sealed, t5, tensor_file
from compacter_jax.checkpoints import files, layout, lock, verifying
from compacter_jax.checkpoints.manifest import Manifest
from compacter_jax.errors import ConfigError, WeightsError
from compacter_jax.t5 import hub
from experiments import folders, notes, pretraining, pretraining_job, schema
from experiments.verifying_report import Report

ADAPTER = adapter_file.DESCRIPTION, adapter_file.ARRAYS
OF_T5 = *hub.DESCRIPTION, *hub.WEIGHTS, 'pytorch_model*'


def verify(path: str | Path) -> Report:
  """Checks the folder of a run, an adapter, checkpoints or a T5; or a file of an adapter.

  Raises ConfigError where there is nothing of these.
  """
  path = Path(os.path.realpath(Path(path).expanduser()))
  if path.name in ADAPTER and path.is_file():
    path = path.parent
  if not path.is_dir():
    raise ConfigError('There is no such folder.', where=str(path))
  kind, look = _kind(path)
  report = Report(path, kind)
  look(report)
  return report


def _kind(path: Path) -> tuple[str, Callable[[Report], object]]:
  """What a folder is by the names in it, and what looks at it."""
  names, steps = sorted(os.listdir(path)), layout.look(path)
  if set(ADAPTER) & set(names):
    return 'an adapter', _adapter
  if folders.RESULTS in names:
    return f'a {_pretraining(path)}run that has ended', _ended
  if folders.CHECKPOINTS in names or notes.LINES in names:
    return f'a {_pretraining(path)}run that has not ended', _unfinished
  if steps.steps or steps.quarantined:
    return 'the checkpoints of a run', _steps
  if any(fnmatch.fnmatch(name, each) for name in names for each in OF_T5):
    return "a T5 in Hugging Face's format", _t5
  raise ConfigError(
    'This is no folder of a run, an adapter or a T5.',
    where=str(path),
    got=', '.join(map(ascii, names[:20])) or 'an empty folder',
  )


def _pretraining(folder: Path) -> str:
  return 'pretraining ' if (folder / pretraining.MODEL).is_dir() else ''


def _adapter(report: Report, inner: str = '') -> None:
  folder = report.folder / inner
  description, arrays = (os.path.join(inner, name) for name in ADAPTER)

  def described() -> str:
    return _written(adapter_file.describe(folder))

  def whole() -> str:
    count = adapter_file.check(folder).count()
    return f'as they were written: {count:,} numbers of the method; its T5 is not looked at'

  if report.check(description, described):
    report.check(arrays, whole, description, arrays)
  else:
    report.check(arrays, lambda: f'{len(tensor_file.read(folder / ADAPTER[1]))} that can be read')


def _written(fields: Mapping[str, Any]) -> str:
  if sealed.KEY in fields:
    return 'as it was written'
  return 'can be read; an earlier version wrote it, without a hash of its own'


def _ended(report: Report) -> None:
  results: dict[str, Any] = {}

  def look() -> str:
    results.update(folders.results(report.folder))
    return _written(results)

  report.check(folders.RESULTS, look)
  _config(report)
  if _pretraining(report.folder):
    _t5(report, pretraining.MODEL)
  else:
    _adapter(report, folders.ADAPTER)
  for name, wanted in sorted(results.get(folders.FILES, {}).items()):
    report.check(name, lambda name=name, wanted=wanted: _same(report.folder / name, wanted))


def _same(path: Path, wanted: files.Sum) -> str:
  try:
    got = files.checksum(path)
  except OSError as error:
    raise WeightsError('This file cannot be read.', where=str(path), got=str(error)) from error
  if got != wanted:
    told = [f'{each["bytes"]:,} bytes, SHA-256 {each["sha256"]}' for each in (wanted, got)]
    raise WeightsError(
      'This file is not as the run left it.',
      where=str(path),
      expected=told[0],
      got=told[1],
      fix='bring back a copy of it',
    )
  return f'{got["bytes"]:,} bytes, of the SHA-256 that {folders.RESULTS} has'


def _config(report: Report) -> str | None:
  """The hash of a run's settings, or None if they cannot be read."""
  hashes = []

  def look() -> str:
    path = report.folder / folders.CONFIG
    try:
      return settled(sealed.read(path))
    except ConfigError as error:  # a flipped bit makes another name
      raise WeightsError(
        'These are no settings of a run of this version.',
        where=str(path),
        expected=error.expected,
        got=f'{error.what} {error.got}',
        fix='bring back a copy of it, or take the version that wrote it',
      ) from error

  def settled(values: Mapping[str, Any]) -> str:
    if _pretraining(report.folder):
      job = pretraining_job.job(values)
      hashes.append(folders.settings_hash(pretraining_job.plain(job), pretraining_job.FREE))
      return f'settings of a run of {job.steps:,} steps on the texts of {job.text.dir}'
    job = schema.job(values)
    hashes.append(folders.settings_hash(schema.as_config(job), schema.FREE))
    return f'settings of a run on {job.data.task} with {job.model}'

  report.check(folders.CONFIG, look)
  return hashes[0] if hashes else None


def _unfinished(report: Report) -> None:
  folder, inner = report.folder, folders.CHECKPOINTS
  if not (folder / inner).is_dir():
    expected = f'{folders.RESULTS} of a run that has ended, or {inner}'
    fix = 'bring back a copy, or start anew in another folder'
    wrong = 'There are neither results nor checkpoints.'
    report.wrong(inner, WeightsError(wrong, where=str(folder), expected=expected, fix=fix))
    _config(report)
    return
  newest = _steps(report, inner)
  if newest is None and not (folder / folders.CONFIG).exists() | (folder / notes.LINES).exists():
    report.right(folders.CONFIG, 'not there: the run had not begun')
    return
  settings = _config(report)
  if newest is None:
    return
  if settings is not None:
    report.check('settings', lambda: _settled(folder, settings, newest), folders.CONFIG)
  report.check(notes.LINES, lambda: _noted(folder, newest))


def _steps(report: Report, inner: str = '') -> Manifest | None:
  """Looks at every step, the newest first; the manifest of the newest one that is right."""
  folder = report.folder / inner
  if not report.check(os.path.join(inner, layout.LOCK), lambda: lock.told(folder), inner):
    return None
  found: list[Manifest] = []
  contents = layout.look(folder)
  for step in reversed(contents.steps):
    name = os.path.join(inner, str(step))
    right = report.check(name, lambda step=step: _step(folder, step, found))
    # A run that is at work may have removed it meanwhile.
    if not right and step not in layout.look(folder).steps:
      report.parts.pop()
  for name in contents.quarantined:
    report.right(os.path.join(inner, name), 'damaged, as was found before; kept to be looked at')
  if found:
    return found[0]
  if contents.steps or contents.quarantined:
    error = 'Of the checkpoints of this run none can be used.'
    fix = 'bring back a copy of one, or start anew in another folder'
    report.wrong(inner or 'steps', WeightsError(error, where=str(folder), fix=fix))
  else:
    report.right(inner, 'none yet')
  return None


def _step(folder: Path, step: int, found: list[Manifest]) -> str:
  """Checks a step, and adds the manifest of one that is right to what was found."""
  with verifying.access(folder):
    finding, manifest = verifying.check(folder, step)
  if manifest is None:
    raise WeightsError(
      'This checkpoint is damaged.',
      where=finding.path,
      expected='every file as its manifest has it',
      got=f'{finding.reason}: {finding.told}',
      fix='bring back a copy; else the next start goes on with the newest one that is right',
    )
  found.append(manifest)
  extra = f'; not its own: {", ".join(map(ascii, finding.extra))}' if finding.extra else ''
  return f'as it was written, {len(manifest.files) + 1} files{extra}'


def _settled(folder: Path, settings: str, newest: Manifest) -> str:
  if 'config' in newest.about:
    got, wanted = files.checksum(folder / folders.CONFIG)['sha256'], newest.about['config']
  else:  # a step of an earlier version knows only what identifies the run
    got, wanted = settings, newest.identity['settings']
  if got != wanted:
    raise WeightsError(
      'These settings are not those of the checkpoints.',
      where=str(folder / folders.CONFIG),
      expected=f'settings of the hash {wanted}',
      got=got,
      fix='bring back a copy of the file',
    )
  return f'those of step {newest.step}'


def _noted(folder: Path, newest: Manifest) -> str:
  count = newest.about['notes']
  _, wrong = notes.kept(folder, count, newest.about.get('notes_sha256', ''))
  if wrong:
    fix = 'bring back a copy of it; else the run goes on, and its notes have a gap'
    where = str(folder / notes.LINES)
    raise WeightsError('These notes are damaged.', where=where, got=wrong, fix=fix)
  return f'has the {count} lines that step {newest.step} knows of'


def _t5(report: Report, inner: str = '') -> None:
  folder = report.folder / inner
  names = sorted(os.listdir(folder)) if folder.is_dir() else []
  reads = [n for n in names if any(fnmatch.fnmatch(n, each) for each in OF_T5)]
  opened = [os.path.join(inner, name) for name in reads]

  def weights() -> str:
    return f'{t5.count(t5.check(folder)):,} finite numbers, all of its T5; they have no hash'

  report.check(os.path.join(inner, 'weights'), weights, *opened)
  if any(name == 'spiece.model' or name.startswith('tokenizer') for name in reads):
    tokenizer = lambda: f'{data.load_tokenizer(folder).vocab_size:,} ids'
    report.check(os.path.join(inner, 'tokenizer'), tokenizer, *opened)
  else:
    report.right(os.path.join(inner, 'tokenizer'), 'none is here')
