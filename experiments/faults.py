"""Writes docs/reliability.md: what can go wrong, what must hold then, and the tests of that.

    python -m experiments.faults

Takes experiments/faults.toml, and experiments/soak.json of `experiments.soak`.
"""

import argparse
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

from compacter_jax import tensor_file
from experiments.guard import guarded
from experiments.soak.tally import Tally

TABLE = Path(__file__).with_name('faults.toml')
SOAK = Path(__file__).with_name('soak.json')
PAGE = Path(__file__).parents[1] / 'docs' / 'reliability.md'

GROUPS = {
  'Processes and storage': range(1, 17),
  'Checkpoints': range(17, 32),
  'Numbers': range(32, 39),
  'Data': range(39, 47),
  'Settings and hosts': range(47, 54),
  'Hostile files': range(54, 63),
}

HEAD = """# Reliability

What can go wrong, what must hold then, and the tests that hold the program to it, from the folder
`tests`; some run by `pytest -m soak` alone. This page is made by `python -m experiments.faults` of
`experiments/faults.toml`, and a test keeps the two equal.

Whether a folder is what was written, `python -m experiments.verify PATH` tells: a run, ended or
not, an adapter or a T5, file by file, with what is wrong and what to do; it changes nothing.
Weights of T5 in Hugging Face's format have no hash: a bit of a number that flips is not seen.

A step whose loss or gradient is not finite changes nothing. `config.nonfinite` says whether the run
stops there, or leaves out so many and notes the rows of each in metrics.jsonl. `config.leap=5`
notes those of steps whose loss is over five times the median of the 50 before it, and changes
nothing.
"""


SOAKED = """
## Soak

`python -m experiments.soak --minutes=30 --record=experiments/soak.json`: small runs whose process
is ended at random moments, and whose newest checkpoint is now and then damaged, are started again
until they end. They must then equal undisturbed ones to the bit. Two shared cores, two runs at a
time:

"""


class Fault(NamedTuple):
  """One fault.

  Attributes:
    number: from 1.
    what: goes wrong. holds: what must hold then.
    tests: of that, as FILE::NAME from the folder `tests`.
    note: what is not held yet, or why it cannot happen here; '' where the tests are all of it.
  """

  number: int
  what: str
  holds: str
  tests: tuple[str, ...] = ()
  note: str = ''

  @property
  def state(self) -> str:
    """'tested', 'in part', 'not yet' or 'does not apply'."""
    if self.tests:
      return 'in part' if self.note else 'tested'
    return 'does not apply' if self.note.startswith('does not apply') else 'not yet'


def read() -> list[Fault]:
  """All faults by their numbers."""
  rows = tomllib.loads(TABLE.read_text())
  made = [
    Fault(
      int(name[1:]), row['what'], row['holds'], tuple(row.get('tests', ())), row.get('note', '')
    )
    for name, row in rows.items()
  ]
  return sorted(made)


def page(faults: list[Fault]) -> str:
  """The page, in Markdown."""
  states = 'tested', 'in part', 'not yet', 'does not apply'
  counts = [f'{sum(each.state == state for each in faults)} {state}' for state in states]
  lines = [HEAD, f'Of {len(faults)} faults: {", ".join(counts)}.']
  for title, numbers in GROUPS.items():
    lines += ['', f'## {title}', '', '| | fault | what must hold | tests |', '|---|---|---|---|']
    for each in faults:
      if each.number in numbers:
        told = [f'`{test}`' for test in each.tests] + [each.note] * bool(each.note)
        lines.append(f'| F{each.number} | {each.what} | {each.holds} | {"<br>".join(told)} |')
  soaked = SOAKED + Tally.read(SOAK).markdown() + '\n'
  return '\n'.join(lines) + '\n' + soaked


def main(argv: list[str]) -> None:
  """Writes the page."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.faults',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.parse_args(argv)
  with tensor_file.atomic(PAGE) as file:
    file.write(page(read()).encode())


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
