"""The results page of recorded runs, and whether a page is still what they make.

    python -m experiments.report --records records.json --write DIR
    python -m experiments.report --records records.json --check DIR

--write puts results.md and its pictures into DIR; text in DIR/results_head.md stands under the
title. --check ends with an error where DIR holds anything else than that.
"""

import argparse
import sys
from pathlib import Path

from experiments.guard import guarded
from experiments.report import page, records


def main(argv: list[str]) -> None:
  """Writes or checks."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.report',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--records', required=True, type=Path, help='the file of the suite')
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument('--write', type=Path, metavar='DIR', help='where the page will be')
  what.add_argument('--check', type=Path, metavar='DIR', help='where the page is')
  flags = parser.parse_args(argv)
  found = records.read(flags.records)
  if flags.write:
    print('\n'.join(map(str, page.write(flags.write, found))))
  else:
    fix = f'python -m experiments.report --records {flags.records} --write {flags.check}'
    page.check(flags.check, found, fix)
    print(f'{flags.check / page.PAGE} is what the records make.')


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
