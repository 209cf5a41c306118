"""The page in a few sentences."""

from experiments.report import summary, tables
from experiments.report.about import CONSTANT
from experiments.report.agreement import AGREES, DISAGREES
from experiments.report.beside_paper import orderings
from experiments.report.conclusions import unlearnt
from experiments.report.markdown import listed, many
from experiments.report.records import FINAL, Records
from experiments.report.statistics import Spread, difference

# Where a method may stand.
ABOVE, BELOW = 'clearly above', 'clearly below'
CLOSE, FEW = 'too close to call', 'of seeds that cannot tell'


def in_short(records: Records) -> list[str]:
  """The section: where methods stand to full fine-tuning, the paper, few rows, chance."""
  points = [*_scores(records), *_order(records), *tables.compared(records)]
  if names := unlearnt(records):
    points.append(f'On {listed(names)} no method is clearly above the {CONSTANT}.')
  absent = len(summary.missing(records, FINAL))
  absent = max(absent, records.planned.get(FINAL, 0) - len(records.of(FINAL)))
  failed = sum(bool(run.failed) for run in records.of(FINAL))
  if absent or failed:
    points.append(
      f'**Not complete**: {many(absent, "final run")} missing, {failed:,} failed; see below.'
    )
  return ['## In short', '', *(f'- {point}' for point in points or ['Nothing was run yet.']), '']


def _scores(records: Records) -> list[str]:
  """Which methods are above, below or neither, of full fine-tuning."""
  found = {row.name: summary.average(records, row.name) for row in records.rows}
  full = found.pop('full', None)
  titles = {row.name: row.title for row in records.rows}
  sides: dict[str, list[str]] = {side: [] for side in (ABOVE, BELOW, CLOSE, FEW)}
  for row, score in found.items():
    if score and full:
      sides[_side(score, full)].append(titles[row])
  if not full or not any(sides.values()):
    return []
  parts = [f'{side}: {listed(names)}' for side, names in sides.items() if names]
  return [f'Full fine-tuning has {full.mean:.1f} % on average. Beside it, {"; ".join(parts)}.']


def _side(score: Spread, full: Spread) -> str:
  gap, margin = difference(score, full)
  if margin is None:
    return FEW
  return CLOSE if abs(gap) <= margin else ABOVE if gap > 0 else BELOW


def _order(records: Records) -> list[str]:
  lines = []
  for found in orderings(records):
    if found.correlation is None:
      continue
    verdicts = [pair.verdict for pair in found.pairs()]
    lines.append(
      f'The order of {many(len(found.ours), "method")} has a rank correlation of '
      f"{found.correlation:.2f} with the paper's on the same {found.benchmark.title} tasks. Of "
      f'{many(len(verdicts), "pair")} that the paper separates by more than {found.gap:.1f} '
      'points, '
      f'{verdicts.count(AGREES)} clearly agree and {verdicts.count(DISAGREES)} clearly disagree.'
    )
  return lines
