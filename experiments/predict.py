"""Answers rows with what a run has trained, and scores the answers where it is known what is right.

    python -m experiments.predict --workdir=W --part=test --out=FILE
    python -m experiments.predict --workdir=W --rows=FILE.csv --out=FILE
    echo 'sentence: a fine film' | python -m experiments.predict --workdir=W --texts=-

W is the folder of a run that has ended. --part answers its own 'test', 'validation' or 'train'
rows; --rows those of a table (CSV, TSV, JSON lines, Parquet) that has the columns of its task and
needs no answers; --texts the lines of a file, or of standard input, as the model reads them.
Settings are the run's: --config.data.NAME=VALUE takes other rows than it had, --config.model=DIR
finds a T5 that has moved. Each answer is a line of JSON in --out, or in standard output.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from experiments.guard import guarded

PARTS = 'test', 'validation', 'train'


def of_run(argv: list[str]) -> dict[str, Any]:
  """The settings of the run whose folder is named; none where help is asked for.

  Raises ConfigError where no folder is named, or that of no run.
  """
  if any(arg.lstrip('-') in ('help', 'helpfull', 'helpshort') for arg in argv):
    return {}
  parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
  parser.add_argument('--workdir', '-workdir', default='')
  folder = parser.parse_known_args(argv)[0].workdir
  from compacter_jax.errors import ConfigError
  from experiments import predicting

  if not folder:
    raise ConfigError('--workdir is missing.', expected='the folder of a run that has ended')
  return predicting.settings(Path(folder))


def start() -> None:
  """Runs the command."""
  from absl import flags

  from experiments import commandline

  part = flags.DEFINE_enum('part', None, PARTS, 'The rows of the run that are answered.')
  rows = flags.DEFINE_string('rows', None, 'The table of rows that are answered.')
  texts = flags.DEFINE_string('texts', None, 'The file of texts that are answered; - is stdin.')
  out = flags.DEFINE_string('out', None, 'The file of the answers; else they are printed.')

  def main(job: Any, workdir: str) -> None:
    from experiments import predicting

    asked = predicting.Asked(part.value, rows.value, texts.value)
    predicting.write(predicting.predict(job, Path(workdir), asked), out.value)

  commandline.start(main, __doc__, given=of_run(sys.argv[1:]))


if __name__ == '__main__':
  guarded(start)
