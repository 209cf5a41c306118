"""The paper's experiment on the small T5 that is shipped: twelve methods, six tasks, three seeds.

Tasks are those whose official files one can have at hand, cut to what two CPU cores do in a night.
Rates are the paper's grid, picked for each method on the validation rows of SST-2.
Methods are fitted to the width and depth of the small T5 (see `experiments/comparison.py`).

python -m experiments.suite --suite=glue_nano --workdir=W --data.dir=DIR
"""

from experiments import suites

SHORT = {'data.max_source': 64}
# As large a share of the shipped T5 as 100 vectors are of T5-base would be 13; and sources of SST-2
# have 17.5 ids in the mean (`experiments.inspect`), so that 100 more would be most of a step.
PROMPT = {'method.length': 20}


def get_suite():
  return {
    'model': 'nano',
    'fitted': True,
    'timed': 32,  # most batches of SST-2 are no wider
    'methods': suites.PAPER_ROWS,
    'rates': (3e-5, 3e-4, 3e-3, 3e-2, 3e-1),
    'search_tasks': ('sst2',),
    'seeds': (42, 1, 2),
    'method_settings': {'prompt': PROMPT, 'prompt_vocabulary': PROMPT},
    'settings': {
      'dtype': 'bfloat16',  # a quarter to a third faster: docs/performance.md
      'batch_size': 32,
      'accumulate': 1,
      'data.batching': 'bucketed',  # padded, two thirds of the ids would be padding
      'unroll': 4,
      'optim.warmup': 100,
      'data.source': 'files',
      'data.max_validation': 500,
    },
    'tasks': {
      'cola': {'epochs': 2.0, **SHORT},
      'sst2': {'epochs': 2.0, 'data.max_train': 10_000, **SHORT},
      # Of few epochs, but evaluated ten times: the curves of the page are of these.
      'mrpc': {'epochs': 4.0, 'eval_every': 46, 'data.max_source': 96},
      'stsb': {'epochs': 3.0, 'eval_every': 54, 'data.max_source': 96},
      # Of 250 and 63 steps, MultiRC's being the slowest: they warm up for a tenth of them.
      'copa': {'epochs': 20.0, 'optim.warmup': 25, **SHORT},
      'multirc': {'epochs': 1.0, 'optim.warmup': 6}
      | {'data.max_train': 2_000, 'data.max_test': 500, 'data.max_source': 256},
    },
    'train_rows': {'cola': 8_551, 'mrpc': 3_668, 'stsb': 5_749, 'copa': 400},
    'random_base': {'methods': ('full', 'compacter', 'compacter_pp'), 'tasks': ('sst2',)},
    'low_resource': {
      'methods': ('full', 'compacter_pp'),
      'tasks': ('sst2',),
      'rows': (100, 500, 1_000, 2_000, 4_000),
      'steps': 500,
      'redraw': True,
    },
  }
