"""The page in a few sentences."""

from experiments.report import skill, summary, tables
from experiments.report.about import CONSTANT, tasks_of
from experiments.report.agreement import AGREES, DISAGREES
from experiments.report.beside_paper import learnt_orderings
from experiments.report.markdown import listed, many
from experiments.report.records import FINAL, LOW, RANDOM, Records
from experiments.report.statistics import Spread, chance, difference

COUNTED = FINAL, LOW, RANDOM  # parts of which a run that is missing is told
# Where a method may stand.
ABOVE, BELOW = 'clearly above', 'clearly below'
CLOSE, FEW = 'too close to call', 'of seeds that cannot tell'


def in_short(records: Records) -> list[str]:
  """The section: where methods stand to full fine-tuning, the paper, few rows, chance."""
  points = [*_scores(records), *_order(records), *tables.compared(records)]
  if tasks := skill.unlearnt(records):
    told = listed([task.title for task in tasks])
    points.append(f'On {told} no method is clearly above the {CONSTANT}.')
  if rows := skill.untuned(records):
    told = listed([row.title for row in records.rows if row.name in rows])
    points.append(f'No rate that was tried made it learn, so that it was not tuned: {told}.')
  absent = sum(_absent(records, part) for part in COUNTED)
  failed = sum(bool(run.failed) for part in COUNTED for run in records.of(part))
  if absent or failed:
    points.append(f'**Not complete**: {many(absent, "run")} missing, {failed:,} failed; see below.')
  return ['## In short', '', *(f'- {point}' for point in points or ['Nothing was run yet.']), '']


def _absent(records: Records, part: str) -> int:
  planned = records.planned.get(part, 0) - len(records.of(part))
  return max(len(summary.missing(records, part)), planned)


def _scores(records: Records) -> list[str]:
  """Which methods are above, below or neither, of full fine-tuning."""
  found = {row.name: summary.average(records, row.name) for row in records.rows}
  full = found.pop('full', None)
  titles = {row.name: row.title for row in records.rows}
  sides: dict[str, list[str]] = {side: [] for side in (ABOVE, BELOW, CLOSE, FEW)}
  expected = summary.expected(records, FINAL)
  for row, score in found.items():
    if score and full:
      few = f' ({score.count} of {expected} seeds)' if score.count < expected else ''
      sides[_side(score, full)].append(titles[row] + few)
  if not full or not any(sides.values()):
    return []
  parts = [f'{side}: {listed(names)}' for side, names in sides.items() if names]
  start = f'Full fine-tuning has {full.mean:.1f} % on average over {tasks_of(records)}.'
  return [f'{start} Beside it, {"; ".join(parts)}.']


def _side(score: Spread, full: Spread) -> str:
  gap, margin = difference(score, full)
  if margin is None:
    return FEW
  return CLOSE if abs(gap) <= margin else ABOVE if gap > 0 else BELOW


def _order(records: Records) -> list[str]:
  lines = []
  for found in learnt_orderings(records):
    if found.correlation is None:
      continue
    verdicts = [pair.verdict for pair in found.pairs()]
    tasks = listed([task.title for task in records.tasks if task.name in found.tasks])
    by_chance = 100 * chance(found.correlation, len(found.ours))
    line = (
      f'The order of {many(len(found.ours), "method")} has a rank correlation of '
      f"{found.correlation:.2f} with the paper's on {tasks}; {by_chance:.0f} % of random orders "
      'have one as high.'
    )
    if verdicts:
      line += (
        f' Of {many(len(verdicts), "pair")} that the paper separates by more than {found.gap:.1f} '
        f'points, {verdicts.count(AGREES)} clearly agree and {verdicts.count(DISAGREES)} clearly '
        'disagree.'
      )
    lines.append(line)
  return lines
