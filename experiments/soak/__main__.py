"""Kills runs at random moments until the time is over, and counts what was lost: nothing, it hopes.

    python -m experiments.soak --minutes=30
    python -m experiments.soak --minutes=30 --record=experiments/soak.json

Small runs of six methods are started by `experiments.run`, two of them on two hosts as well, which
are processes of this machine. Each start is ended at a random moment by SIGKILL or SIGTERM, one of
two hosts also by SIGSTOP; or its disk is full or broken from a random call on, where there is a C
compiler. Now and then the newest checkpoint is damaged, too: a bit is flipped, or a file is cut.
The same command is started again until the run has ended. Then parameters, losses, predictions and
the lines of metrics.jsonl are compared, to the bit, with those of a run that nothing disturbed.

Prints a line for every run, and a table. Exits with 1 if anything was lost, done twice, silently
wrong, or needed a hand, if a start ended with another exit code than it should, or too late: 10 s
behind SIGTERM or a disk, 20 s where two hosts may have to compile first, and the other host 10 s
behind the one that is lost. --record writes the counts, of which `experiments.faults` makes a part
of docs/reliability.md. What went wrong stays in the folder; the rest is removed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from compacter_jax.errors import ConfigError
from compacter_jax.settings import within
from experiments.guard import guarded


def main(argv: list[str]) -> None:
  """Soaks and prints what was counted."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.soak',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--minutes', type=float, default=30.0, help='0 is without end')
  parser.add_argument('--kills', type=int, default=0, help='after how many to end; 0 is no limit')
  parser.add_argument('--methods', nargs='*', help='configs, lora:2 on two hosts; by default all')
  parser.add_argument('--workers', type=int, default=2, help='runs at a time')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--workdir', type=Path, help='by default a new temporary folder')
  parser.add_argument('--record', type=Path, help='a file for the counts, as JSON')
  flags = parser.parse_args(argv)
  within('minutes', flags.minutes, 0)
  within('kills', flags.kills, 0)
  within('workers', flags.workers, 1)

  from experiments.folders import make_folder
  from experiments.soak.soaking import METHODS, Soak
  from experiments.soak.starts import Kind

  methods = tuple(flags.methods or METHODS)
  for method in methods:
    Kind.of(method)
  # Processes begin elsewhere, and a disk fails below one spelling of a path.
  folder = (flags.workdir or Path(tempfile.mkdtemp(prefix='soak-'))).resolve()
  make_folder(folder)
  if any(folder.iterdir()):
    raise ConfigError(
      'A soak begins in an empty folder.', where=str(folder), fix='name a new one, or none'
    )
  print(f'in {folder}', flush=True)
  say = lambda text: print(text, flush=True)
  soak = Soak(folder, methods, flags.minutes, flags.kills, flags.workers, flags.seed, say)
  tally = soak.run()
  print(f'\n{tally.markdown()}')
  if flags.record:
    tally.save(flags.record)
  if tally.faults:
    print('\n'.join(['', *tally.faults]), file=sys.stderr)
    sys.exit(1)


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
