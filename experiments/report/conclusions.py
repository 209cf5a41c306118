"""What the runs can and cannot tell, said with their own sizes."""

import itertools
import statistics

from experiments.report import skill, summary
from experiments.report.about import CONSTANT
from experiments.report.beside_paper import learnt_orderings
from experiments.report.markdown import listed, many
from experiments.report.paper import PARAMETERS
from experiments.report.records import FINAL, SEARCH, Records
from experiments.report.statistics import difference

SMALLER = 1.5  # times fewer parameters than T5-base, from which on the model is called smaller


def conclusions(records: Records) -> list[str]:
  """The section, in plain words."""
  points = [_scale(records), *_seeds(records), *_unlearnt(records), _search(records)]
  points += [
    'The paper prints one number for each method and no deviation: where it has two methods close '
    'together, their order may be chance there as well.',
    'Trained parameters and file sizes are counted, for this model. Times and memory are of this '
    f'device ({records.device}), this size of model and one shape of batch, and others may rank '
    'differently.',
  ]
  head = '## What these runs can and cannot tell'
  return [head, '', *(f'- {point}' for point in points if point), '']


def _scale(records: Records) -> str:
  ratio = PARAMETERS / max(records.base.parameters, 1)
  told = f'`{records.model}` has {records.base.parameters:,} parameters'
  if ratio < SMALLER:
    return f"{told}, {1 / ratio:.2f} times those of the paper's T5-base."
  return (
    f"{told}, {100 / ratio:.1f} % of T5-base's. How far few parameters can steer frozen weights "
    'depends on what pretraining has put into them. An order as in the paper is a sign that the '
    'methods work here as they do there; another order does not show that the paper is wrong, and '
    'no score here foretells one of T5-base.'
  )


def _seeds(records: Records) -> list[str]:
  """What clear and open mean, and how small a difference can be seen at all."""
  points = []
  for found in learnt_orderings(records):
    pairs, compared = itertools.combinations(found.ours.values(), 2), len(found.pairs())
    widths = [margin for pair in pairs if (margin := difference(*pair)[1]) is not None]
    name = found.benchmark.title
    if widths:
      points.append(
        f'With {many(len(summary.seeds(records, FINAL)), "seed")} two averages over tasks of '
        f'{name} differ clearly from {statistics.median(widths):.1f} points on (median over all '
        'pairs of methods). Smaller differences cannot be seen here, so an open pair is not an '
        'equal one.'
      )
    if widths and compared:
      points.append(
        'Clear speaks of seeds: others would likely give the same order on the same test rows. Of '
        f'{many(compared, "pair")} about {compared / 20:.1f} would look clear if no methods '
        'differed, as one interval in twenty misses.'
      )
    if not widths and found.ours:
      points.append(
        f'One seed each has no deviation: of {name} no difference between methods can be called '
        'clear.'
      )
  return points


def _unlearnt(records: Records) -> list[str]:
  if not (tasks := skill.unlearnt(records)):
    return []
  return [
    f'On {listed([task.title for task in tasks])} no method is more than {skill.ERRORS} standard '
    f'errors (of test rows) above the {CONSTANT}: what differs there may be no skill. It is in the '
    "averages of the table, and not in what is said of the paper's order."
  ]


def _search(records: Records) -> str:
  runs = records.of(SEARCH)
  if not runs:
    return ''
  tasks = {run.task for run in runs}
  return (
    f'Rates were searched on {many(len(tasks), "task")} with '
    f'{many(len(summary.seeds(records, SEARCH)), "seed")}, and nothing else was: a method that '
    'needs other settings than these may do better than it does here.'
  )
