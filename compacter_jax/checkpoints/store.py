"""The steps in a folder, as the first process of a run sees and changes them."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compacter_jax.checkpoints import files, layout, manifest, retention, verifying
from compacter_jax.checkpoints.manifest import Manifest
from compacter_jax.checkpoints.verifying import Finding
from compacter_jax.errors import StorageError, WeightsError
from compacter_jax.tensor_file import sync

MOST = 8  # names that a message lists


class Store:
  """A folder of steps that this process has claimed."""

  def __init__(self, folder: Path, keep_last: int, keep_best: int, say: Callable[[str], None]):
    self._folder, self._say = folder, say
    self._keep_last, self._keep_best = keep_last, keep_best

  def clean(self) -> None:
    """Removes what a run that was killed left, and tells what is ignored."""
    with verifying.access(self._folder):
      contents = layout.look(self._folder)
      for name in contents.passing:
        layout.remove(self._folder / name)
    if contents.ignored:
      names = ', '.join(ascii(name) for name in contents.ignored[:MOST])
      more = f' and {len(contents.ignored) - MOST} more' if len(contents.ignored) > MOST else ''
      self._say(f'{self._folder}: ignored, since these are no checkpoints: {names}{more}')

  def begin(self, step: int, resumed: bool) -> str | None:
    """Makes the folder in which a step is written; its name, or None if the step is there."""
    with verifying.access(self._folder):
      contents = layout.look(self._folder)
      if not resumed and (contents.steps or contents.quarantined):
        raise StorageError(
          'This folder has checkpoints with which the run did not go on.',
          where=str(self._folder),
          got=', '.join(map(str, contents.steps)),
          fix='call restore first, or take another folder',
        )
      newest = contents.steps[-1] if contents.steps else -1
      if step < max(newest, 0) or not layout.STEP.fullmatch(str(step)):
        raise ValueError(f'Step {step} cannot be saved after step {newest}.')
      if step == newest and self._is_right(step):
        self._say(f'{self._folder}: step {step} is there already')
        return None
      draft = layout.unfinished(self._folder, step)
      draft.mkdir()
      return draft.name

  def publish(self, draft: Path, described: Manifest) -> None:
    """Gives a step whose arrays are written its manifest and its name, and reads it again.

    Raises WeightsError if it is not what was written, and any OSError.
    """
    text = manifest.encode(dataclasses.replace(described, files=files.seal(draft)))
    with open(draft / manifest.NAME, 'xb') as file:
      file.write(text)
      file.flush()
      os.fsync(file.fileno())
    sync(draft)
    step = described.step
    if os.path.lexists(self._folder / str(step)):
      name = layout.put_aside(self._folder, step)
      self._say(f'{self._folder}: what was called {step} and is no checkpoint is now {name}')
    os.rename(draft, self._folder / str(step))
    sync(self._folder)
    finding, _ = verifying.check(self._folder, step)
    if finding.reason:
      name = layout.quarantine(self._folder, step, finding.reason)
      raise WeightsError(
        'This checkpoint is not on the disk as it was written.',
        where=str(self._folder / name),
        got=finding.told,
        fix='check the disk; the checkpoints before it are intact',
      )

  def retain(self) -> None:
    """Removes what need not be kept. A step that cannot be read is not counted, and stays."""
    scores = self._scores()
    for step in scores.keys() - retention.kept(scores, self._keep_last, self._keep_best):
      layout.delete(self._folder, step)

  def survey(self, best: bool) -> dict[str, Any]:
    """The newest step that is right, or the best one, and findings about those before it."""
    with verifying.access(self._folder):
      contents, bad = layout.look(self._folder), []
      for step in retention.ranked(self._scores()) if best else reversed(contents.steps):
        finding, described = verifying.check(self._folder, step)
        if described is not None:
          if finding.extra:
            self._say(f'{finding.path} has files that are not its own: {list(finding.extra)}')
          return {'step': step, 'bad': bad, 'quarantined': ()}
        bad.append(dataclasses.asdict(finding))
      return {'step': None, 'bad': bad, 'quarantined': () if best else contents.quarantined}

  def quarantine(self, bad: Sequence[Finding]) -> None:
    """Renames steps that are damaged, and tells so."""
    with verifying.access(self._folder):
      for each in bad:
        name = layout.quarantine(self._folder, each.step, each.reason)
        self._say(f'{self._folder}: step {each.step} is damaged ({each.told}); it is now {name}')

  def _is_right(self, step: int) -> bool:
    """Whether a step is as it was written, also if an error came right after that."""
    finding, _ = verifying.check(self._folder, step)
    if finding.reason:
      self.quarantine([finding])
    else:
      sync(self._folder)
      self.retain()
    return not finding.reason

  def _scores(self) -> dict[int, float | None]:
    """Of the steps whose manifest is right."""
    scores = {}
    for step in layout.look(self._folder).steps:
      with contextlib.suppress(OSError, ValueError):
        scores[step] = manifest.read(self._folder / str(step) / manifest.NAME).score
    return scores
