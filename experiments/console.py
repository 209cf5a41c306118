"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

import sys

from compacter_jax.train import Progress


class Console:
  """Shows progress with the loss, examples per second and the time that is left."""

  def __init__(self, total: int, quiet: bool = False):
    self._total, self._bar, self._quiet = total, None, quiet
    if sys.stderr.isatty() and not quiet:
      from tqdm import tqdm

      self._bar = tqdm(total=total, unit='step', dynamic_ncols=True)

  def go_on(self, step: int) -> None:
    """The run goes on behind so many steps, which tell nothing of how fast it is."""
    if self._bar is not None:
      self._bar.reset()
      self._bar.initial = self._bar.n = self._bar.last_print_n = step
      self._bar.refresh()
    self.say(f'going on from step {step}')

  def show(self, progress: Progress) -> None:
    """Reports steps that ended."""
    told = f'loss {progress.loss:.4f}, {progress.examples_per_second:,.0f} examples/s'
    if self._bar is not None:
      self._bar.set_postfix_str(told, refresh=False)
      self._bar.update(progress.step - self._bar.n)
    elif not self._quiet:
      left = progress.seconds_per_step * (self._total - progress.step)
      print(f'step {progress.step}/{self._total}, {told}, {duration(left)} left', flush=True)

  def say(self, text: str) -> None:
    """A line of its own, above the bar if there is one."""
    if self._bar is not None:
      self._bar.write(text)
    elif not self._quiet:
      print(text, flush=True)

  def close(self) -> None:
    """Leaves the finished bar standing."""
    if self._bar is not None:
      self._bar.close()


def duration(seconds: float) -> str:
  """Seconds as a person says them: 45 s, 3 min 20 s, 2 h 5 min."""
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} min {whole % 60} s'
  return f'{whole // 3600} h {whole % 3600 // 60} min'
