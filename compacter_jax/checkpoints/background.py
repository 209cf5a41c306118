"""One task at a time beside the training loop."""

import threading
from collections.abc import Callable


class Background:
  """Runs a task in a thread that never keeps the program from ending."""

  def __init__(self):
    self._thread: threading.Thread | None = None
    self._error: BaseException | None = None

  def start(self, task: Callable[[], None]) -> None:
    """Starts a task; the one before it must have been waited for."""
    if self._thread is not None:
      raise RuntimeError('a checkpoint is being written')

    def run():
      try:
        task()
      except BaseException as error:  # handed to who waits
        self._error = error

    self._thread = threading.Thread(target=run, name='checkpoint', daemon=True)
    self._thread.start()

  def ended(self) -> BaseException | None:
    """The error of a task that has ended, told once; None of one that goes on."""
    return None if self._thread is None or self._thread.is_alive() else self.wait()

  def wait(self, seconds: float | None = None) -> BaseException | None:
    """Waits for the task; its error, told once. Raises TimeoutError if it takes longer."""
    if self._thread is None:
      return None
    self._thread.join(seconds)
    if self._thread.is_alive():
      raise TimeoutError(f'a checkpoint was not written within {seconds} s')
    self._thread, error, self._error = None, self._error, None
    return error
