"""What a pretraining run leaves to look at: JSON lines, TensorBoard's files, and a picture."""

from pathlib import Path
from typing import Any

from compacter_jax import tensor_file
from experiments.notes import Notes, closing, read_notes


class Log(Notes):
  """Notes that TensorBoard shows as well.

  What it had been shown behind the checkpoint that a run goes on from is dropped there too.
  """

  def __init__(self, folder: Path, *args: Any, step: int, **kwargs: Any):
    """args, kwargs: as `Notes` takes them.  step: of the checkpoint, 0 where there is none."""
    super().__init__(folder, *args, **kwargs)
    self._board, self._events = None, folder / 'events'
    if self.writes:
      from tensorboardX import SummaryWriter

      with tensor_file.writing(self._events):
        self._board = SummaryWriter(str(self._events), purge_step=step + 1)

  def add(self, **values: Any) -> None:
    """One line with these values of the step among them; numbers are shown."""
    super().add(**values)
    for name, value in values.items():
      if self._board and name != 'step' and isinstance(value, int | float):
        self._board.add_scalar(name, value, values['step'])

  def settle(self) -> None:
    """All that was noted is on the disk; TensorBoard's writer would wait for minutes."""
    super().settle()
    if self._board:
      with tensor_file.writing(self._events):
        self._board.flush()

  def __exit__(self, *error: object) -> None:
    super().__exit__(*error)
    if self._board:
      with closing(self._events, error[0]):
        self._board.close()


def plot_loss(folder: Path) -> Path:
  """Draws loss.png: the training loss between reports, and the dev loss."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4), layout='constrained')
  FigureCanvasAgg(figure)
  axes, notes = figure.subplots(), read_notes(folder)
  for key, marker in (('loss', ''), ('dev_loss', 'o')):
    told = [note for note in notes if key in note]
    steps, values = ([note[name] for note in told] for name in ('step', key))
    axes.plot(steps, values, label=key.replace('_', ' '), marker=marker)
  last = [note['dev_loss'] for note in notes if 'dev_loss' in note][-1]
  axes.set(xlabel='step', ylabel='cross entropy per target id (nats)', title=f'dev loss {last:.3f}')
  axes.grid(alpha=0.3)
  axes.legend()
  with tensor_file.atomic(folder / 'loss.png') as file:
    figure.savefig(file, dpi=120, format='png')
  return folder / 'loss.png'
