"""The paper's order and numbers beside those of the runs."""

import collections

from experiments.report import agreement, skill, summary
from experiments.report.agreement import AGREES, DISAGREES, FAR, OPEN, Ordering, Pair
from experiments.report.markdown import NONE, listed, many, number, table
from experiments.report.paper import BENCHMARKS, COSTS, MARK, SOURCE, Benchmark
from experiments.report.records import Records
from experiments.report.statistics import chance


def orderings(records: Records) -> list[Ordering]:
  """One for each benchmark of the paper of which a task was run."""
  found = [agreement.ordering(records, benchmark) for benchmark in BENCHMARKS]
  return [each for each in found if each.tasks]


def learnt_orderings(records: Records) -> list[Ordering]:
  """Of the tasks on which a method has shown skill, and of the methods that could be tuned."""
  tasks = [task.name for task in skill.unlearnt(records)]
  rows = skill.untuned(records)
  found = [agreement.ordering(records, benchmark, tasks, rows) for benchmark in BENCHMARKS]
  return [each for each in found if each.tasks]


def order(records: Records) -> list[str]:
  """How far the methods stand in the paper's order, and which pairs do and do not."""
  lines = ['## The order of the methods, here and in the paper', '']
  whole = orderings(records)
  if not whole:
    return [*lines, 'Missing: no task of the paper was run.', '']
  learnt = {found.benchmark.title: found for found in learnt_orderings(records)}
  for each in whole:
    lines += _order(records, each, learnt.get(each.benchmark.title))
  return lines


def _order(records: Records, whole: Ordering, found: Ordering | None) -> list[str]:
  titles, tasks = _titles(records), {task.name: task.title for task in records.tasks}
  lines = [f'### {whole.benchmark.title}', '']
  left = [tasks[name] for name in whole.tasks if not found or name not in found.tasks]
  if not found:
    return [*lines, f'On {listed(left)} nothing was learned that could be compared.', '']
  left_out = [row for row in skill.untuned(records) if row in whole.benchmark.rows]
  absent = [titles.get(row, row) for row in found.benchmark.rows if row not in found.ours]
  absent = [title for title in absent if title not in {titles[row] for row in left_out}]
  if left:
    lines += [f'Left out, because no method learned it: {listed(left)}.', '']
  if left_out:
    told = listed([titles[row] for row in left_out])
    lines += [f'Left out, because no rate that was tried made it learn: {told}.', '']
  if absent:
    lines += [f'Without an average here, and so left out: {listed(absent)}.', '']
  if found.correlation is None:
    return [*lines, 'Missing: fewer than three methods have all tasks, or all are equal.', '']
  others = []
  if left or left_out:
    others.append(_correlated('with all that was left out', len(whole.ours), whole.correlation))
  if len(found.tasks) > 1:
    for name in found.tasks:
      rest = {task.name for task in records.tasks} - {name}
      one = agreement.ordering(records, found.benchmark, rest, skill.untuned(records))
      others.append(_correlated(f'{tasks[name]} alone', len(one.ours), one.correlation))
  count, near = len(found.ours), len(found.near)
  of = f'as printed, over all of {found.benchmark.title}'
  close = f'over these tasks, of the methods within {FAR:g} points of its best'
  lines += [
    f'Of {many(count, "method")}, averaged over {listed([tasks[name] for name in found.tasks])} '
    "both here and in the paper. Spearman's rank correlation (1: the same order, 0: none, -1: "
    'reversed), and the share of random orders that have one as high:',
    '',
    *table(
      ['average in the paper', 'methods', 'rank correlation', 'by chance'],
      [
        _correlated('over these tasks', count, found.correlation),
        _correlated(of, count, found.printed_correlation),
        _correlated(close, near, found.near_correlation),
        *others,
      ],
    ),
    '',
  ]
  return lines + _pairs(found.pairs(), found.gap, titles)


def _correlated(what: str, count: int, found: float | None) -> list[str]:
  share = NONE if found is None else f'{100 * chance(found, count):.1f} %'
  return [what, f'{count}', number(found, '{:.2f}'), share]


def _pairs(pairs: list[Pair], gap: float, titles: dict[str, str]) -> list[str]:
  if not pairs:
    return [f'The paper separates no two of these methods by more than {gap:.1f} points.', '']
  by = collections.defaultdict(list)
  for pair in pairs:
    by[pair.verdict].append(pair)
  counts = [
    f'{len(by[kind])} {text}'
    for kind, text in (
      (AGREES, 'clearly agree'),
      (DISAGREES, 'clearly disagree'),
      (OPEN, 'are open'),
    )
  ]
  lines = [
    f'The paper separates {many(len(pairs), "pair")} by more than {gap:.1f} points: here '
    f'{listed(counts)}. Clear is a difference of which the 95 % interval over seeds (Welch) leaves '
    'out zero; ± is half its width.',
    '',
  ]
  if by[DISAGREES]:
    lines += ['Clear disagreements:', '']
    for pair in by[DISAGREES]:
      high, low = titles[pair.high], titles[pair.low]
      lines.append(
        f'- {low} is above {high} by {-pair.here:.1f} ± {pair.margin:.1f} points; the paper has '
        f'it below by {pair.published:.1f}.'
      )
    lines.append('')
  if by[AGREES]:
    lines += ['Clear agreements:', '']
    for high, group in _grouped(by[AGREES]).items():
      told = [
        f'{titles[pair.low]} by {pair.here:.1f} ± {pair.margin:.1f} (paper: {pair.published:.1f})'
        for pair in group
      ]
      lines.append(f'- {titles[high]} is above {listed(told)}.')
    lines.append('')
  if by[OPEN]:
    lines += ['Open, the higher of the paper first:', '']
    for high, group in _grouped(by[OPEN]).items():
      told = [
        f'{titles[pair.low]} ({pair.here:+.1f}{_margin(pair)}; paper: {pair.published:+.1f})'
        for pair in group
      ]
      lines.append(f'- {titles[high]} and {listed(told)}.')
    lines.append('')
  return lines


def _margin(pair: Pair) -> str:
  return ', too few seeds' if pair.margin is None else f' ± {pair.margin:.1f}'


def _grouped(pairs: list[Pair]) -> dict[str, list[Pair]]:
  groups = collections.defaultdict(list)
  for pair in pairs:
    groups[pair.high].append(pair)
  return groups


def numbers(records: Records) -> list[str]:
  """What the paper prints, with what was measured here in brackets."""
  lines = [
    "## The paper's numbers",
    '',
    f'{SOURCE}, tables 1 to 3, for T5-base: **{MARK}**. In brackets is what was measured here.',
    '',
  ]
  for found in orderings(records):
    lines += [*_scores(records, found), '']
  return lines + _costs(records)


def _scores(records: Records, found: Ordering) -> list[str]:
  benchmark: Benchmark = found.benchmark
  ours = {row.name: row for row in records.rows}
  titles = {task.name: task.title for task in records.tasks}
  rows = []
  for row in benchmark.rows:
    cells = []
    for task in found.tasks:
      here = summary.spread(summary.scores(records, row, task))
      cells.append(
        f'{benchmark.cell(row, task)} ({here.mean:.1f})'
        if here
        else f'{benchmark.cell(row, task)} ({NONE})'
      )
    average = f'{found.ours[row].mean:.1f}' if row in found.ours else NONE
    share = f'{ours[row].percent:.3f}' if row in ours else NONE
    rows.append(
      [
        _titles(records).get(row, f'{row} (not run)'),
        *cells,
        f'{benchmark.average(row, found.tasks):.2f} ({average})',
        f'{benchmark.printed(row):.2f}',
        f'{benchmark.trained(row):g} ({share})',
      ]
    )
  head = ['method', *(titles[task] for task in found.tasks), 'average of these', 'printed average']
  return [
    f'Table {benchmark.table}, {benchmark.title}, in percent. The printed average is of all '
    'numbers of all tasks of that table, so that a task with two metrics counts twice; in the '
    'other average each task counts once.',
    '',
    *table([*head, 'trained %'], rows),
  ]


def _costs(records: Records) -> list[str]:
  ours = {row.name: row for row in records.rows}
  change = lambda part: NONE if part is None else f'{100 * (part - 1):+.1f}'
  rows = []
  for row, cost in COSTS.items():
    here = ours.get(row)
    rows.append(
      [
        _titles(records).get(row, f'{row} (not run)'),
        f'{cost.memory:.2f}',
        number(cost.printed, '{:+.2f}'),
        f'{cost.memory_change:+.1f} ({change(here.memory if here else None)})',
        f'{cost.minutes:.2f}',
        f'{cost.time_change:+.1f} ({change(here.time if here else None)})',
      ]
    )
  head = ['method', 'MB', 'change, printed', 'change', 'minutes an epoch', 'change']
  return [
    'Table 3, MNLI on one GPU: memory and time, changes in percent. Its printed changes of memory '
    "divide by the method's own memory, not by full fine-tuning's as those of time do; beside them "
    'stands the change that follows from its own figures. The two prompts share a line there.',
    '',
    *table(head, rows),
    '',
  ]


def _titles(records: Records) -> dict[str, str]:
  return {row.name: row.title for row in records.rows}
