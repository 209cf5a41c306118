"""Downloads the rows of a task by tensorflow-datasets and prepares them, once.

    python -m experiments.prepare --task=sst2
    python -m experiments.prepare --task=rte --data_dir=DIR --archives=DOWNLOADED

--data_dir is what --config.data.dir names later; without either, both are tensorflow-datasets' own
default. --archives is a folder of files that were downloaded elsewhere, such as SST-2.zip, under
the names they have where they are published: nothing that is in it is downloaded. A diagnostic
set brings the rows that train it. Where several hosts share the folder one prepares and the
others wait.
"""

import argparse
import sys

from experiments.guard import guarded


def main(argv: list[str]) -> None:
  """Prepares and says where the rows are and how many."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments.prepare',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--task', required=True, help='its name, e.g. sst2')
  parser.add_argument('--data_dir', default='', help='the folder of all prepared data')
  parser.add_argument('--archives', default='', help='a folder of files downloaded already')
  flags = parser.parse_args(argv)

  from compacter_jax import data

  task = data.task_named(flags.task)
  for each in dict.fromkeys((task.name, data.trained_on(task).name)):
    prepared = data.prepare(data.task_named(each), flags.data_dir, flags.archives)
    print(f'{each}: {prepared.folder}')
    for split, rows in prepared.splits().items():
      print(f'  {split:24}{rows:>10,} rows')


if __name__ == '__main__':
  guarded(lambda: main(sys.argv[1:]))
