"""The checkpoints of one run: saved beside the training, and gone on with to the bit."""

import contextlib
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from compacter_jax.checkpoints import arrays as stored
from compacter_jax.checkpoints import (
  layout,
  lock,
  manifest,
  processes,
  refusals,
  room,
  surroundings,
  trees,
  verifying,
)
from compacter_jax.checkpoints.background import Background
from compacter_jax.checkpoints.manifest import Manifest
from compacter_jax.checkpoints.store import Store
from compacter_jax.checkpoints.verifying import Finding
from compacter_jax.errors import CompacterError, ConfigError, StorageError

TELL = 1.0  # seconds after which processes that wait tell each other how they are
LINGER = 8.0  # seconds that a program which fails waits for the step it is writing


@dataclass(frozen=True)
class Restored:
  """What a run goes on with.

  Attributes:
    step: steps taken.
    state: the arrays.
    about, score: as they were given to `save`.
    quarantined: the newer steps that failed their check, and why.
  """

  step: int
  state: Any
  about: Any
  score: float | None
  quarantined: tuple[Finding, ...]


class Checkpoints:
  """The checkpoints of one run in a folder of their own.

      with Checkpoints(folder, identity).claim() as checkpoints:
        found = checkpoints.restore(like=state)
        if found:
          state = found.state
        for step in range(found.step if found else 0, steps):
          ...
          checkpoints.save(step + 1, state, {'examples': seen}, score)

  A step is written in the background under a hidden name. When all its files and a manifest with
  their SHA-256 are on the disk it gets its name, is read again, and only then do older ones go. So
  at any moment, also one at which the process is killed or the disk is full, the newest step that
  was complete is there. A step that is damaged is renamed, told of, and never deleted.

  Several processes on one file system make the same calls; the first one writes all names.
  """

  def __init__(
    self,
    folder: str | Path,
    identity: Mapping[str, str | int | float | bool | None],
    keep_last: int = 2,
    keep_best: int = 1,
    say: Callable[[str], None] | None = None,
  ):
    """Nothing is read or written yet.

    Args:
      folder: made when it is claimed.
      identity: what must be equal for a run to go on with a step: settings, hashes of the data, of
        the tokenizer, of the frozen weights.
      keep_last: how many of the newest steps are kept.
      keep_best: how many of those with the highest scores are kept, counted on their own.
      say: is told what a user should know and is no error; else the log is.

    Raises ConfigError for a number of steps to keep that cannot be.
    """
    for name, number, least in ('keep_last', keep_last, 1), ('keep_best', keep_best, 0):
      if number < least:
        raise ConfigError(
          'So few checkpoints cannot be kept.',
          where=name,
          expected=f'at least {least}',
          got=str(number),
        )
    self._folder = Path(folder).absolute()
    self._identity = manifest.plain('identity', dict(identity))
    self._say = say or logging.getLogger(__name__).warning
    self._store = Store(self._folder, keep_last, keep_best, self._say)
    self._kept = keep_last + keep_best
    self._run = secrets.token_hex(8)
    self._background = Background()
    self._claimed = self._resumed = False
    self._outlasting: contextlib.ExitStack | None = None

  @contextlib.contextmanager
  def claim(self, force: bool = False) -> Iterator['Checkpoints']:
    """The folder for this run alone; at the end all that was saved is on the disk.

    Leftovers of a run that was killed are removed.  force: also where a process on another host
    says that it has the folder, and you know that it has ended.

    Raises InUseError, which names the holder, and StorageError where there can be no such folder
    or the last step could not be written.
    """
    with contextlib.ExitStack() as stack:
      processes.first_says(lambda: self._enter(stack, force))
      self._claimed, self._resumed = True, False
      try:
        yield self
        self.wait()
      except BaseException as error:
        self._linger(error, stack)
        raise
      finally:
        self._claimed = False

  def save(self, step: int, state: Any, about: Any = None, score: float | None = None) -> None:
    """Begins to save; returns as soon as the arrays are copied, so that `state` may be given up.

    A step that is there already, and is right, is left as it is.

    Args:
      step: how many steps were taken.
      state: pytree of JAX arrays; no frozen weights.
      about: what else is needed to go on, of what JSON can hold.
      score: higher is better; NaN and infinities count as none.

    Raises:
      StorageError: this step, or the one before it that was written meanwhile, cannot be written;
        or the folder has steps and `restore` was not called. The steps before it are intact and
        the next `save` may work.
      TypeError, ValueError: what cannot be kept, or a step that lies before the newest one.
    """
    self.wait()
    tree, arrays = trees.leaves(state)
    described = Manifest(
      step=step,
      score=manifest.comparable(score),
      about=manifest.plain('about', about),
      identity=self._identity,
      tree=tree,
      files={},
      run=self._run,
      versions=surroundings.versions(),
      topology=surroundings.topology(),
    )
    name = processes.first_says(lambda: self._store.begin(step, self._resumed))
    if name is None:
      return
    draft = self._folder / name
    copies = stored.copied(arrays)
    begin = lambda: stored.write(draft / layout.ARRAYS, copies)
    if processes.several():
      # Where hosts meet, all of them must do so in the order of their main threads.
      with self._writing('This checkpoint cannot be written.', draft, described):
        end = begin()
      self._background.start(lambda: self._write(draft, end, described))
    else:
      self._background.start(lambda: self._write(draft, lambda: begin()(), described))

  def wait(self) -> None:
    """Waits until what was saved is on the disk. Raises the errors of `save`."""
    if not self._claimed:
      raise RuntimeError('Checkpoints are used within `with checkpoints.claim():`.')
    while processes.any_busy(*self._written()):
      pass

  def look(self) -> None:
    """Raises the error of a `save` that has failed in this process; waits for nothing."""
    if error := self._background.ended():
      raise error

  def check_room(self, like: Any) -> None:
    """Raises StorageError unless the disk has room for all steps that will be there at a time."""
    processes.first_says(lambda: room.check(self._folder, like, self._kept))

  def restore(self, like: Any, best: bool = False) -> Restored | None:
    """The newest step of which every byte is right; None if there never was one.

    Newer ones that are damaged are renamed `quarantine-<step>-<reason>`, and told of in the
    result and to `say`.

    Args:
      like: arrays, or `jax.ShapeDtypeStruct`s, whose paths, shapes and dtypes the step must have,
        and over whose shardings it is laid out, on however many devices it was before.
      best: the step with the highest score instead, None if none has one: to use, not to go on
        with.

    Raises:
      WeightsError: there were steps and none of them is right, or the arrays are others; names
        them. It never means to start anew: that takes another folder.
      ConfigError: the step is of a run with another identity; names what differs.
      StorageError: the disk denies access.
    """
    self.wait()
    found = processes.first_says(lambda: self._store.survey(best))
    bad = [Finding(**{**each, 'extra': tuple(each['extra'])}) for each in found['bad']]
    if found['step'] is None:
      processes.first_says(lambda: self._store.quarantine(bad))
      if bad or found['quarantined']:
        raise refusals.nothing_left(self._folder, bad, found['quarantined'])
      self._resumed |= not best
      return None
    step, path = found['step'], self._folder / str(found['step'])
    with verifying.access(self._folder):
      described = manifest.read(path / manifest.NAME)
    if other := surroundings.differences(described.identity, self._identity):
      raise refusals.another_run(path, other)
    places = trees.matched(described.tree, like, str(path))
    try:
      arrays = stored.read(path / layout.ARRAYS, places, jax.tree.leaves(like))
    except jax.errors.JaxRuntimeError:  # of devices, or of another process: the step is well
      raise
    except Exception as error:
      raise refusals.unreadable(path, described.versions, error) from error
    processes.first_says(lambda: self._store.quarantine(bad))
    if other := surroundings.differences(described.versions, surroundings.versions()):
      self._say(f'{path} was written with other versions: {other}')
    self._resumed |= not best
    state = jax.tree.unflatten(jax.tree.structure(like), arrays)
    return Restored(step, state, described.about, described.score, tuple(bad))

  def _written(self) -> tuple[BaseException | None, bool]:
    """The error of what was saved, and whether it is still being written.

    A process that fails does not come to where the others wait for all: it must be heard meanwhile.
    """
    try:
      return self._background.wait(TELL if processes.several() else None), False
    except TimeoutError:
      return None, True

  def _enter(self, stack: contextlib.ExitStack, force: bool) -> None:
    stack.enter_context(lock.held(self._folder, self._run, self._say, force))
    self._store.clean()

  def _linger(self, error: BaseException, stack: contextlib.ExitStack) -> None:
    """Lets the last step be written although the program fails, but not for ever."""
    try:
      if late := self._background.wait(LINGER):
        error.add_note(f'Besides, a checkpoint failed: {late}')
    except TimeoutError as late:
      error.add_note(str(late))
      self._outlasting = stack.pop_all()  # the thread still writes and must keep the lock

  def _write(self, draft: Path, arrays: Callable[[], None], described: Manifest) -> None:
    """Brings a step to its name, and then removes what need not be kept."""
    with self._writing('This checkpoint cannot be written.', draft, described):
      arrays()
      if processes.is_first():
        self._store.publish(draft, described)
    if processes.is_first():
      with self._writing('This checkpoint is written, but older ones cannot go.', draft, described):
        self._store.retain()

  @contextlib.contextmanager
  def _writing(self, what: str, draft: Path, described: Manifest) -> Iterator[None]:
    try:
      yield
    except BaseException as error:
      if processes.is_first():  # what cannot be removed now is at the next start
        shutil.rmtree(draft, ignore_errors=True)
      if isinstance(error, CompacterError) or not isinstance(error, Exception):
        raise
      told = str(error).partition(' [tensorstore_spec')[0][-500:]  # the cause is told last
      free = room.free(self._folder)
      found = 'unknown' if free is None else f'{free:,}'
      raise StorageError(
        what,
        where=str(self._folder / str(described.step)),
        expected=f'room for {trees.size(described.tree):,} bytes and a little more',
        got=f'{type(error).__name__}: {told}; {found} bytes are free',
        fix='make room on the disk or see what ails it; all steps that were written are intact',
      ) from error
