"""What is told of a task, as text for people: `inspecting.py` finds it."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

from experiments import splits

WIDTH = 100  # columns of the text
LINES = 6  # of a long text that are shown
IDS = 80  # of a long text that are shown
LABELS = 20  # that are shown

Found = dict[str, Any]


def sections(found: Found) -> dict[str, str]:
  """The text, by heading."""
  return {
    f'{len(found["examples"])} training examples': _examples(found),
    'Answers': _answers(found),
    'Lengths in ids, the end token counted': _lengths(found),
    f'A step of {found["padding"]["batch_size"]} training examples': _padding(found),
    'Splits': splits.text(found['splits']),
  }


def text(found: Found) -> str:
  """For a terminal."""
  parts = [f'{head}\n{"-" * len(head)}\n{body}' for head, body in sections(found).items()]
  return '\n\n'.join([title(found), *parts, *(f'note: {note}' for note in found['cache_notes'])])


def markdown(found: Found, picture: str) -> str:
  """For a file beside the picture."""
  out = [f'# {title(found)}', f'![Lengths of sources and targets]({picture})']
  for head, body in sections(found).items():
    longest = max(map(len, re.findall('`+', body)), default=0)
    fence = '`' * max(3, longest + 1)
    out.append(f'## {head}\n\n{fence}text\n{body}\n{fence}')
  return '\n\n'.join(out) + '\n'


def title(found: Found) -> str:
  """The task and the tokenizer, in a line."""
  tokenizer = found['tokenizer']
  told = f'tokenizer {tokenizer["name"]} with {tokenizer["ids"]:,} ids'
  return f'{found["task"]} in the style {found["style"]}, {told}'


def _examples(found: Found) -> str:
  lines = [f'The first in the order of seed {found["seed"]}. Pieces stand over their ids.']
  for number, example in enumerate(found['examples'], 1):
    lines += ['', f'{number}. row {example["row"]} of {example["of"]}']
    for name in 'source', 'target':
      lines += _text(name, example[name])
    for name in 'source', 'target':
      lines += _ids(name, example[name])
  return '\n'.join(lines)


def _text(name: str, told: Found) -> list[str]:
  """The text itself, its beginning if it is long."""
  room, whole = WIDTH - 11, plain(told['text'])
  lines = textwrap.wrap(whole[: room * LINES], room) or ['']
  if more := len(whole[room * LINES :]):
    lines.append(f'... {more:,} more characters')
  return [f'   {head:8}{line}'.rstrip() for head, line in zip([name, *[''] * len(lines)], lines)]


def _ids(name: str, told: Found) -> list[str]:
  """Two lines for as many ids as fit: the pieces, and under each its id."""
  n = len(told['ids'])
  size = f'cut from {told["length"]} ids to {n}' if told['cut'] else f'{n} ids'
  cells = [(plain(piece), str(i)) for piece, i in zip(told['pieces'], told['ids'])]
  if n > IDS:
    cells[IDS - 20 : -5] = [(f'... {n - IDS + 15} more ...', '')]
  lines, room = [f'   {name}, {size}'], 0
  for cell in cells:
    width = max(map(len, cell))
    if room < width + 1:
      lines, room = [*lines, '      ', '      '], WIDTH - 6
    lines[-2:] = (line + ' ' + part.ljust(width) for line, part in zip(lines[-2:], cell))
    room -= width + 1
  return [line.rstrip() for line in lines]


def plain(text: str) -> str:
  """The text with whatever moves the cursor spelled out, as in '\\n'."""
  return ''.join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def table(lines: Sequence[Sequence[str]]) -> str:
  """Columns of equal width: the first to the left, the others to the right."""
  widths = [max(map(len, column)) for column in zip(*lines)]
  out = []
  for first, *others in lines:
    cells = [cell.rjust(width + 2) for cell, width in zip(others, widths[1:])]
    out.append((first.ljust(widths[0]) + ''.join(cells)).rstrip())
  return '\n'.join(out)


def _answers(found: Found) -> str:
  parts = found['answers']
  every = lambda head, tell: [head, *(tell(part) for part in parts.values())]
  lines = [['', *parts], every('examples', lambda part: f'{part["examples"]:,}')]
  labels = list(dict.fromkeys(x for part in parts.values() for x in part.get('labels', ())))
  for label in labels[:LABELS]:
    shares = (_share(part['labels'].get(label)) for part in parts.values())
    lines.append([plain(label), *shares])
  if (more := len(labels) - LABELS) > 0:
    lines.append([f'... {more} more', *[''] * len(parts)])
  for name in next(iter(parts.values())).get('numbers', ()):
    lines.append([name, *(f'{part["numbers"][name]:.2f}' for part in parts.values())])
  lines.append(every('different answers', lambda part: f'{part["different"]:,}'))
  lines.append(every('commonest', lambda part: plain(part['commonest']['text'])[:20]))
  lines.append(every('its share', lambda part: _share(part['commonest'])))
  return table(lines)


def _share(told: Found | None) -> str:
  return f'{told["count"]:,}  {told["percent"]:5.1f} %' if told else '-'


def _lengths(found: Found) -> str:
  lines = [['', 'min', 'median', 'mean', '95 %', 'max', 'limit', 'cut', '', 'enough']]
  limits = {'source': found['max_source'], 'target': found['max_target']}
  for name, limit in limits.items():
    for part, both in found['lengths'].items():
      told = both[name]
      middle = f'{told["median"]:g}', f'{told["mean"]:.1f}', str(told['p95']), str(told['max'])
      cut = str(limit), f'{told["cut"]:,}', f'{told["cut_percent"]:.1f} %', str(told['enough'])
      lines.append([f'{part} {name}s', str(told['min']), *middle, *cut])
  meaning = 'enough: the smallest limit that cuts less than 1 %.'
  return '\n'.join([table(lines), meaning, *_advice(found)])


def _advice(found: Found) -> list[str]:
  """What to set where texts are cut."""
  lines, enough = [], found['lengths']['train']['source']
  if enough['cut_percent'] >= 1:
    setting = f'--config.data.max_source={enough["enough"]}'
    lines.append(f'{setting} would cut less than 1 % of the training sources.')
  targets = [both['target'] for both in found['lengths'].values()]
  if sum(told['cut'] for told in targets) and not found['may_cut_targets']:
    longest = max(told['max'] for told in targets)
    lines += [
      'A run refuses targets that are longer than the limit. What would do:',
      f'--config.data.max_target={longest} or --config.data.allow_target_truncation=True.',
    ]
  return lines


def _padding(found: Found) -> str:
  told, run = found['padding'], found['training']
  lines = [['batching', 'useful ids', 'shapes', 'lines', 'ids a step', 'examples a line']]
  for kind, each in told['of'].items():
    name = f'all to {found["max_source"]}' if kind == 'fixed' else kind
    mark = ' *' if kind == told['chosen'] else ''
    line = f'{told["batch_size"] / each["lines"]:.1f}'
    counts = str(each['shapes']), str(each['lines']), f'{each["ids"]:,.0f}', line
    lines.append([name + mark, f'{each["useful"]:.1f} %', *counts])
  return '\n'.join(
    [
      table(lines),
      f'* as set. Steps that were measured: {told["steps"]:,}. What is not useful is padding.',
      f'An epoch is {short(run["steps_per_epoch"])} steps. A run takes {run["steps"]:,}, '
      f'which is {short(run["epochs"])} epochs, and validates every {run["eval_every"]:,}.',
    ]
  )


def short(number: float) -> str:
  """With at most two decimals: '663.49', '200'."""
  return f'{number:,.2f}'.rstrip('0').rstrip('.')
