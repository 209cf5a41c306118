"""The paper's table of GLUE on T5-base, as published (Karimi Mahabadi et al. 2021, section 4.1).

Every row of GLUE from tensorflow-datasets, batches of 100, 3 epochs and 20 for small tasks, the
rates that the paper's search ended at, one seed. The width of the adapters out of 24, 48 and 96 is
picked for each task on validation rows. For an accelerator; `--dry_run` tells what it takes.

python -m experiments.suite --suite=glue_paper --dry_run
python -m experiments.prepare --task=cola  # and each of the others
python -m experiments.suite --suite=glue_paper --workdir=W
"""

from experiments import suites
from experiments.suite.published import PUBLISHED

WIDTHS = {'method.adapters.reduction': (32, 16, 8)}
CHOSEN = 'adapter', 'pfeiffer', 'adapterdrop', 'low_rank_adapter'
KRONECKER = 'phm_adapter', 'compacter', 'compacter_pp'
ROWS = {
  'cola': 8_551,
  'sst2': 66_349,
  'mrpc': 3_668,
  'qqp': 362_846,
  'stsb': 5_749,
  'mnli': 392_702,
  'qnli': 103_743,
  'rte': 2_490,
}


def get_suite():
  return {
    'model': 't5-base',
    'methods': suites.PAPER_ROWS,
    'options': {name: WIDTHS for name in (*CHOSEN, *KRONECKER)},
    'seeds': (42,),
    'settings': {'data.source': 'tfds'},
    'tasks': {name: dict(PUBLISHED.get(name, {})) for name in ROWS}
    | {'qqp': {'data.max_bad_rows': 50}},  # rows that tensorflow-datasets lacks
    'train_rows': ROWS,
  }
