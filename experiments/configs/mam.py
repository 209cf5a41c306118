"""MAM adapter (He et al. 2022): 65,111,904 parameters on T5-base (29.214 %).

Prefixes of 30 through a network of 800 hidden units, and scaled parallel adapters beside the
feed-forward, width 512 and s = 4, with the optimizer of parallel_adapter.py. Once the network has
made its prefixes, 20,563,968 are needed (9.226 %). Where the authors classify, with RoBERTa-base,
they take length 16, width 16, s = 2, rate 1e-4 and decay 0.1.

python -m experiments.run --config=experiments/configs/mam.py --workdir=W
"""

from experiments.configs import base, parallel_adapter


def get_config():
  config = parallel_adapter.get_config()
  prefix = base.method('prefix', length=30, bottleneck=800)
  config.method = {'prefix': prefix, 'adapters': config.method}
  return config
