"""The average score of each method against what it costs, with the Pareto front."""

import itertools
from typing import Any

import numpy as np

from experiments.report import labels, style, summary
from experiments.report.records import FINAL, Records
from experiments.report.series import Points, scored
from experiments.report.statistics import pareto

AXES = {
  'trained': ('trained parameters', 'Score against trained parameters'),
  'time': ('time of a training step (full fine-tuning = 1)', 'Score against training time'),
}
NEAR = 16  # pixels between a point and its name up to which no line joins them


def draw(records: Records, cost: str, source: str) -> bytes:
  """The PNG; cost: `trained` or `time`, of which there must be a point."""
  points = scored(records, cost)
  titles = {row.name: row.title for row in records.rows}
  expected = summary.expected(records, FINAL)

  def paint(figure: Any) -> None:
    axes = figure.subplots()
    label, title = AXES[cost]
    axes.set(xlabel=label, ylabel='average test score (%)', title=title)
    if cost == 'trained':
      axes.set_xscale('log')
      axes.xaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
    axes.grid(alpha=0.3)
    axes.margins(0.12, 0.1)
    front = _front(axes, points)
    for row, (value, score) in points.items():
      looks = style.look(row)
      size = 14 if looks['marker'] == '*' else 9
      hollow = {'markerfacecolor': 'white'} if score.count < expected else {}
      axes.errorbar(
        value, score.mean, score.deviation, capsize=3, elinewidth=1, markersize=size,
        **looks, **hollow,
      )  # fmt: skip
    axes.legend(loc='lower right', framealpha=1)
    figure.draw_without_rendering()  # gives the axes their place
    figure.set_layout_engine('none')
    _name(axes, points, titles, front)

  return style.png(paint, source)


def _front(axes: Any, points: Points) -> list[tuple[float, float]]:
  """Draws the Pareto front; returns its corners."""
  costs, scores = zip(*((cost, score.mean) for cost, score in points.values()))
  front = [(costs[i], scores[i]) for i in pareto(costs, scores)]
  # A method is also what it is at any higher cost: the front goes in steps.
  corners = [front[0]]
  for cost, score in [*front[1:], (max(costs), front[-1][1])]:
    corners += [(cost, corners[-1][1]), (cost, score)]
  label = 'Pareto front: no method is cheaper and better'
  axes.plot(*zip(*corners), color='#999999', linestyle='--', linewidth=1.2, zorder=0, label=label)
  return corners


def _name(axes: Any, points: Points, titles: dict[str, str], front: list) -> None:
  from matplotlib.patheffects import withStroke

  renderer = axes.figure.canvas.get_renderer()
  halo = [withStroke(linewidth=2.5, foreground='white')]
  looks = {'fontsize': 10.5, 'path_effects': halo, 'zorder': 5}
  texts = [axes.text(0, 0, titles[row], color=style.dark(row), **looks) for row in points]
  boxes = [text.get_window_extent(renderer) for text in texts]
  sizes = np.array([[box.width + 4, box.height + 2] for box in boxes])
  where = axes.transData.transform
  centres = np.array([where((cost, score.mean)) for cost, score in points.values()])
  taken = []
  for (cost, score), (x, y) in zip(points.values(), centres):
    spread = score.deviation or 0.0
    low, high = (where((cost, score.mean + side * spread))[1] for side in (-1, 1))
    taken += [(x - 8, y - 8, x + 8, y + 8), (x - 4, low - 2, x + 4, high + 2)]
  for one, other in itertools.pairwise(map(where, front)):
    taken.append((*np.minimum(one, other) - 1, *np.maximum(one, other) + 1))
  box = axes.get_legend().get_window_extent(renderer)
  taken.append((box.x0 - 4, box.y0 - 4, box.x1 + 4, box.y1 + 4))
  frame = axes.get_window_extent(renderer)
  bounds = np.array([frame.x0 + 3, frame.y0 + 3, frame.x1 - 3, frame.y1 - 3])
  corners = labels.place(centres, sizes, bounds, np.array(taken))
  back = axes.transData.inverted().transform
  for row, text, corner, size, centre in zip(points, texts, corners, sizes, centres):
    text.set_position(back(corner + (2, 4)))
    nearest = np.clip(centre, corner, corner + size)
    if np.hypot(*(nearest - centre)) > NEAR:  # which point it names is not plain
      line = back(np.array([centre, nearest]))
      axes.plot(*line.T, color=style.dark(row), linewidth=0.8, alpha=0.7, zorder=1)
