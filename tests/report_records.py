"""Records of a whole suite of made-up runs, for the tests of the report."""

import numpy as np

from experiments.report.paper import GLUE, TITLES

TASKS = {  # metric, training, validation and test rows, majority, what full fine-tuning reaches
  'cola': ('CoLA', 'matthews', 8_551, 521, 522, 0.0, 22.0),
  'mrpc': ('MRPC', 'f1, accuracy', 3_668, 204, 204, 74.6, 80.0),
  'stsb': ('STS-B', 'pearson, spearman', 5_749, 750, 750, 0.0, 55.0),
  'sst2': ('SST-2', 'accuracy', 20_000, 500, 872, 50.9, 81.0),
  'qnli': ('QNLI', 'accuracy', 20_000, 500, 5_463, 50.5, 70.0),
  'rte': ('RTE', 'accuracy', 2_490, 138, 139, 53.2, 57.0),
}
TRAINED = {
  'full': 9_574_144,
  'adapter': 211_136,
  'pfeiffer': 107_232,
  'adapterdrop': 158_352,
  'low_rank_adapter': 18_912,
  'prompt': 25_600,
  'prompt_vocabulary': 25_601,
  'intrinsic_said': 20_000,
  'bitfit': 38_400,
  'phm_adapter': 58_400,
  'compacter': 19_520,
  'compacter_pp': 11_200,
}
SEEDS = 42, 1, 2
STEPS = 800
SIZES = 100, 500, 1_000, 2_000


def values(seed: int = 0) -> dict:
  """As a JSON file has them: 12 methods, 6 tasks, 3 seeds; the order is much like the paper's."""
  rng = np.random.default_rng(seed)
  rows = [
    {
      'name': name,
      'title': {'compacter': 'Compacter (n = 4)', 'full': 'Full fine-tuning'}.get(name, title),
      'trained': TRAINED[name],
      'percent': 100 * TRAINED[name] / TRAINED['full'],
      'file_bytes': 4 * TRAINED[name] + 2_000,
      'rate': 0.01,
      'time': float(rng.uniform(0.5, 0.8)) if name != 'full' else 1.0,
      'memory': float(rng.uniform(0.4, 0.7)) if name != 'full' else 1.0,
    }
    for name, title in TITLES.items()
  ]
  rows[7]['time'] = 2.3
  runs = []

  def run(part, row, task, seed, rate=0.01, size=None, share=1.0):
    _, metric, train, _, _, majority, best = TASKS[task]
    deficit = 0.8 * (86.7 - GLUE.printed(row)) + rng.normal(0, 1)
    score = max(majority + (best - majority) * share - 0.3 * deficit, majority)
    test, validation = (round(float(score + rng.normal(0, 0.8)), 2) for _ in range(2))
    steps = [] if part != 'final' else list(range(100, STEPS + 1, 100))
    curve = [
      [
        s,
        round(majority + (validation - majority) * (1 - 0.5 ** (s / 150)) + rng.normal(0, 0.7), 2),
      ]
      for s in steps
    ]
    runs.append(
      {
        'part': part,
        'row': row,
        'task': task,
        'seed': seed,
        'rate': rate,
        'train_rows': size or train,
        'steps': STEPS,
        'validation': validation,
        'test': test,
        'scores': {name: test for name in metric.split(', ')},
        'invalid': 0,
        'seconds': 60.5,
        'curve': curve,
        'failed': None,
      }
    )

  for row in TITLES:
    for rate, share in ((0.001, 0.6), (0.003, 0.8), (0.01, 1.0)):
      for task in ('cola', 'rte'):
        run('search', row, task, 42, rate, share=share)
    for task in TASKS:
      for each in SEEDS:
        run('final', row, task, each)
  for row in ('full', 'compacter_pp'):
    for task in ('mrpc', 'sst2', 'rte'):
      for size in SIZES:
        for each in SEEDS:
          share = np.log(size) / 8 - (0.35 if row == 'full' else 0.05) * (1000 / size) ** 0.2
          run('low_resource', row, task, each, size=size, share=share)
  for row in ('full', 'compacter'):
    for each in SEEDS:
      run('random_base', row, 'sst2', each, share=0.4)
  names = 'title', 'metric', 'train', 'validation', 'test', 'constant'
  return {
    'suite': 'glue_nano',
    'model': 'nano',
    'base': {'parameters': 9_574_144, 'fingerprint': '0123abcd'},
    'command': 'python -m experiments.suite --suite=glue_nano --workdir=W --data.dir=DIR',
    'device': 'cpu',
    'versions': {'jax': '0.10.2'},
    'rows': rows,
    'tasks': [{'name': name, **dict(zip(names, task))} for name, task in TASKS.items()],
    'runs': runs,
    'planned': {'search': 72, 'final': 216, 'low_resource': 72, 'random_base': 6},
  }
