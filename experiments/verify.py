"""Checks that a folder is what was written: of a run, an adapter, or a T5; changes nothing.

    python -m experiments.verify PATH [--format=json]

PATH is the --workdir of a run, ended or not, its checkpoints, an adapter's folder or one of its
files, or a T5 in Hugging Face's format. Each part is told with what is wrong with it. Exits with 0,
or with the code of the first error: 2 for no such folder, 4 for what is damaged, 6 for what cannot
be reached.
"""

import argparse
import json
import sys

from experiments.guard import guarded


def main(argv: list[str]) -> None:
  """Prints what was found, and ends with the exit code."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.verify',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('path', help='the folder')
  parser.add_argument('--format', default='text', choices=['text', 'json'])
  flags = parser.parse_args(argv)

  from experiments.verifying import verify

  report = verify(flags.path)
  print(json.dumps(report.plain(), indent=1) if flags.format == 'json' else report.text())
  sys.exit(report.code)


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
