"""What the paper reports for T5-base: Karimi Mahabadi et al. 2021, arXiv:2106.04647, tables 1 to 3.

Recalled, not re-read: these figures were not copied from the document. Every row of tables 1 and 2
gives its printed average (tests/test_report.py); two cells that changed places would go unnoticed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SOURCE = 'Karimi Mahabadi et al. 2021, arXiv:2106.04647'
MARK = 'recalled, not re-read'
PARAMETERS = 222_882_048  # of T5-base, with 32,100 rows of vocabulary

TITLES = {
  'full': 'T5-base',
  'adapter': 'Adapter',
  'pfeiffer': 'Pfeiffer-Adapter',
  'adapterdrop': 'AdapterDrop',
  'low_rank_adapter': 'Adapter-LowRank',
  'prompt': 'Prompt-R',
  'prompt_vocabulary': 'Prompt-T',
  'intrinsic_said': 'Intrinsic-SAID',
  'bitfit': 'BitFit',
  'phm_adapter': 'PHM-Adapter',
  'compacter': 'Compacter',
  'compacter_pp': 'Compacter++',
}


@dataclass(frozen=True)
class Benchmark:
  """One of the two tables of scores.

  Attributes:
    tasks: metrics by task. lines: of each method the cells of its tasks, their average as printed,
      in which a task with two metrics counts twice, and the trained parameters in percent.
  """

  title: str
  table: int
  tasks: dict[str, str]
  lines: str

  @property
  def rows(self) -> dict[str, list[str]]:
    """The line of each method, cell by cell."""
    split = [line.split() for line in self.lines.strip().split('\n')]
    return {name: cells for name, *cells in split}

  def cell(self, row: str, task: str) -> str:
    """What is printed for a task, as '90.20/93.06'."""
    return self.rows[row][list(self.tasks).index(task)]

  def numbers(self, row: str, task: str) -> list[float]:
    """One for each metric of the task."""
    return [float(number) for number in self.cell(row, task).split('/')]

  def average(self, row: str, tasks: Sequence[str]) -> float:
    """Over these tasks, each the mean of its metrics, as scores are averaged here."""
    cells = [self.numbers(row, task) for task in tasks]
    return math.fsum(math.fsum(cell) / len(cell) for cell in cells) / len(cells)

  def printed(self, row: str) -> float:
    """The average in the table."""
    return float(self.rows[row][-2])

  def trained(self, row: str) -> float:
    """Trained parameters in percent of the model's."""
    return float(self.rows[row][-1])


GLUE = Benchmark(
  title='GLUE',
  table=1,
  tasks={
    'cola': 'matthews',
    'sst2': 'accuracy',
    'mrpc': 'accuracy / F1',
    'qqp': 'accuracy / F1',
    'stsb': 'Pearson / Spearman',
    'mnli': 'accuracy',
    'qnli': 'accuracy',
    'rte': 'accuracy',
  },
  lines="""
full              61.76 94.61 90.20/93.06 91.63/88.84 89.68/89.97 86.78 93.01 71.94 86.50 100
adapter           64.02 93.81 85.29/89.73 90.18/87.20 90.73/91.02 86.49 93.21 71.94 85.78 0.832
pfeiffer          62.90 93.46 86.76/90.85 90.14/87.15 91.13/91.34 86.16 93.37 76.26 86.32 0.427
adapterdrop       62.70 93.58 86.27/90.60 90.20/87.25 91.37/91.61 86.27 93.23 71.22 85.85 0.494
low_rank_adapter  59.19 93.69 88.24/91.49 90.23/87.01 90.80/91.33 85.80 92.90 73.38 85.82 0.073
prompt            0.47  87.61 68.14/81.05 88.93/85.55 90.25/90.59 46.83 92.33 54.68 71.49 0.034
prompt_vocabulary 10.59 90.94 68.14/81.05 89.69/86.14 89.84/90.21 81.46 92.75 54.68 75.95 0.034
intrinsic_said    58.69 94.15 88.24/91.78 90.28/87.13 90.06/90.45 85.23 93.39 70.50 85.45 0.009
bitfit            58.16 94.15 86.76/90.53 90.06/86.99 90.88/91.26 85.31 92.99 67.63 84.97 0.126
phm_adapter       57.35 94.50 91.67/93.86 90.25/87.05 90.45/90.84 85.97 92.92 75.54 86.40 0.179
compacter         63.75 93.00 89.22/92.31 90.23/87.03 90.31/90.74 85.61 92.88 77.70 86.62 0.073
compacter_pp      61.27 93.81 90.69/93.33 90.17/86.93 90.46/90.93 85.71 93.08 74.82 86.47 0.047
""",
)

SUPERGLUE = Benchmark(
  title='SuperGLUE',
  table=2,
  tasks={
    'boolq': 'accuracy',
    'cb': 'accuracy / F1',
    'copa': 'accuracy',
    'multirc': 'F1 / exact match',
    'record': 'F1 / exact match',
    'wic': 'accuracy',
  },
  lines="""
full              81.10 85.71/78.21 52.00 68.71/47.00 74.26/73.33 70.22 70.06 100
adapter           82.39 85.71/73.52 52.00 72.75/53.41 74.55/73.58 67.08 70.55 0.832
pfeiffer          82.45 85.71/75.63 54.00 72.53/51.76 74.69/73.70 68.65 71.01 0.427
adapterdrop       82.26 85.71/75.63 42.00 72.92/53.30 74.68/73.70 68.34 69.84 0.494
low_rank_adapter  80.31 78.57/55.37 54.00 72.58/51.98 74.77/73.87 64.58 67.34 0.073
prompt            61.71 67.86/46.99 48.00 59.23/16.33 75.27/74.36 48.90 55.41 0.034
prompt_vocabulary 61.71 67.86/46.89 52.00 57.66/19.44 75.37/74.41 48.90 56.03 0.034
intrinsic_said    78.72 75.00/51.83 54.00 69.98/52.78 74.86/73.91 65.83 66.32 0.009
bitfit            79.57 78.57/54.40 56.00 70.73/48.57 74.64/73.64 69.59 67.30 0.126
phm_adapter       80.31 85.71/73.52 44.00 71.99/51.65 74.62/73.60 67.40 69.20 0.240
compacter         78.59 96.43/87.44 48.00 70.80/49.67 74.49/73.54 65.20 71.57 0.073
compacter_pp      78.84 92.86/84.96 52.00 70.68/50.99 74.55/73.50 68.03 71.82 0.048
""",
)

BENCHMARKS = GLUE, SUPERGLUE


@dataclass(frozen=True)
class Cost:
  """Table 3, MNLI on one GPU of 24 GB: memory (MB, presumably for one example), minutes an epoch.

  printed: the change of memory in percent as the paper has it. It divides by the method's own
  memory and not by full fine-tuning's, unlike the change of time, so it is recomputed here.
  """

  memory: float
  minutes: float
  printed: float | None = None

  @property
  def memory_change(self) -> float:
    """In percent of full fine-tuning's memory."""
    return 100 * (self.memory / COSTS['full'].memory - 1)

  @property
  def time_change(self) -> float:
    """In percent of full fine-tuning's time."""
    return 100 * (self.minutes / COSTS['full'].minutes - 1)


COSTS = {
  'full': Cost(167.99, 42.13),
  'adapter': Cost(124.02, 31.81, -35.45),
  'pfeiffer': Cost(118.40, 28.19, -41.88),
  'adapterdrop': Cost(119.41, 28.08, -40.68),
  'low_rank_adapter': Cost(123.80, 32.71, -35.69),
  # One line for both prompts.
  'prompt': Cost(222.27, 44.54, 24.42),
  'prompt_vocabulary': Cost(222.27, 44.54, 24.42),
  'intrinsic_said': Cost(285.40, 144.01, 41.14),
  'bitfit': Cost(102.31, 27.36, -64.2),
  'phm_adapter': Cost(123.93, 35.55, -35.55),
  'compacter': Cost(123.91, 36.48, -35.57),
  'compacter_pp': Cost(118.35, 30.96, -41.94),
}
