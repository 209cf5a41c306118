"""Learning curves, and scores against the number of training rows, with bands over seeds."""

from typing import Any

from experiments.report import style
from experiments.report.about import CONSTANT
from experiments.report.records import Records
from experiments.report.series import curves, few_rows
from experiments.report.statistics import Spread

COLUMNS = 3  # of panels


def draw_curves(records: Records, source: str) -> bytes:
  """The PNG: a panel for each task that has a curve; there must be one."""
  found = curves(records)
  rows = [row for row in records.rows if any(row.name in lines for lines in found.values())]
  tasks = [task for task in records.tasks if task.name in found]

  def paint(figure: Any) -> None:
    columns = min(COLUMNS, len(tasks))
    height = -(-len(tasks) // columns)
    panels = list(figure.subplots(height, columns, squeeze=False).flat)
    for axes, task in zip(panels, tasks):
      for row in rows:
        if row.name in found[task.name]:
          _line(axes, row.name, found[task.name][row.name], markersize=4)
      if (constant := task.constant_validation) is not None:
        axes.axhline(constant, color='#999999', linestyle=':', linewidth=1.2)
      axes.set_title(task.title)
      axes.set_ylim(_limits([*found[task.name].values()], constant))
      axes.grid(alpha=0.3)
      axes.locator_params('x', nbins=4, integer=True)
    for axes in panels[len(tasks) :]:
      axes.axis('off')
    figure.supxlabel('training step', fontsize='medium')
    figure.supylabel('validation score (%)', fontsize='medium')
    handles = [_handle(row.name, row.title) for row in rows]
    if any(task.constant_validation is not None for task in tasks):
      handles.append(_handle('', CONSTANT, color='#999999', linestyle=':'))
    figure.legend(handles=handles, loc='outside upper center', ncols=4)

  return style.png(paint, source)


def _limits(found: list[list[tuple[int, Spread]]], constant: float | None) -> tuple[float, float]:
  """Of the scores but for the first third of each curve, which would make the others one line."""
  late = [score for line in found for _, score in line[len(line) // 3 :]]
  scores = [value for score in late for value in score.values]
  scores += [] if constant is None else [constant]
  low, high = min(scores), max(scores)
  margin = max(0.05 * (high - low), 0.5)
  return low - margin, high + margin


def draw_few_rows(records: Records, source: str) -> bytes:
  """The PNG: averages over the low-resource tasks; there must be one."""
  found = few_rows(records)
  titles = {row.name: row.title for row in records.rows}

  def paint(figure: Any) -> None:
    from matplotlib.ticker import NullLocator

    axes = figure.subplots()
    for row, line in found.items():
      _line(axes, row, line, label=titles[row], markersize=9)
    sizes = sorted({size for line in found.values() for size, _ in line})
    axes.set_xscale('log')
    axes.set_xticks(sizes, [f'{size:,}' for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel='training rows', ylabel='average test score (%)')
    axes.set_title(
      'Score against training rows (mean over seeds, band: from the worst to the best)'
    )
    axes.grid(alpha=0.3)
    axes.legend(framealpha=1)

  return style.png(paint, source)


def _line(axes: Any, row: str, line: list[tuple[int, Spread]], **looks: Any) -> None:
  """The means, and a band from the worst seed to the best."""
  x, means = [place for place, _ in line], [score.mean for _, score in line]
  axes.plot(x, means, **style.look(row), linewidth=1.8, **looks)
  low = [min(score.values) for _, score in line]
  high = [max(score.values) for _, score in line]
  axes.fill_between(x, low, high, color=style.look(row)['color'], alpha=0.2, linewidth=0)


def _handle(row: str, label: str, **looks: Any) -> Any:
  from matplotlib.lines import Line2D

  own = style.look(row) if row else {}
  return Line2D([], [], label=label, **{'linewidth': 2, 'markersize': 6, **own, **looks})
