"""How long the texts of a task are, as a picture."""

import io
from typing import Any

import numpy as np

SIZE, DPI = (10, 7.5), 120  # inches, dots per inch
BINS = 60  # at most
FAR, NEAR = 2.5, 40  # a limit beyond so many times the longest text, and so many ids, is not drawn
COLOURS = {'source': 'tab:blue', 'target': 'tab:green'}


def lengths_png(found: dict[str, Any], title: str) -> bytes:
  """The PNG: histograms of the lengths of each part's sources and targets, with the limits."""
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=SIZE, layout='constrained')
  FigureCanvasAgg(figure)
  figure.suptitle(f'Lengths of texts: {title}', parse_math=False)
  parts, limits = found['lengths'], {'source': found['max_source'], 'target': found['max_target']}
  grid = figure.subplots(len(parts), len(limits), sharex='col', sharey='col', squeeze=False)
  for column, (name, limit) in zip(grid.T, limits.items()):
    longest = max(both[name]['max'] for both in parts.values())
    end = limit if limit <= max(FAR * longest, NEAR) else longest
    step = -(-max(longest, end) // BINS)
    for axes, (part, both) in zip(column, parts.items()):
      _histogram(axes, both[name], step, COLOURS[name])
      told = both[name]
      cut = f', of which {told["cut"]:,} are cut' if told['cut'] else ''
      axes.set_title(f'{sum(told["counts"].values()):,} {part} {name}s{cut}', fontsize=10)
    _limit(column, f'max_{name} = {limit}', limit, limit <= end)
    column[-1].set_xlabel(f'length of a {name} (ids, {step} to a bar)')
    column[-1].set_xlim(0, 1.03 * max(longest, end) + 1)
    column[-1].xaxis.get_major_locator().set_params(integer=True)
  for axes in grid[:, 0]:
    axes.set_ylabel('share of these (%)')
  out = io.BytesIO()
  figure.savefig(out, dpi=DPI, format='png')
  return out.getvalue()


def _histogram(axes: Any, told: dict[str, Any], step: int, colour: str) -> None:
  values = np.array([int(value) for value in told['counts']])
  counts = np.array(list(told['counts'].values()))
  # Bars stand over the whole numbers that they count.
  edges = np.arange(0, values.max() + step + 1, step) - 0.5
  axes.hist(values, edges, weights=100 * counts / counts.sum(), color=colour)
  axes.grid(alpha=0.3)
  axes.set_axisbelow(True)


def _limit(column: Any, label: str, limit: int, drawn: bool) -> None:
  """Marks the limit in every picture of the column, and says which it is in the first."""
  style = {'color': 'tab:red', 'linestyle': '--'}
  for axes in column if drawn else ():
    axes.axvline(limit + 0.5, **style)
  column[0].plot([], [], label=label if drawn else f'{label}, further right', **style)
  column[0].legend(fontsize=9)
