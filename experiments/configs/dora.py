"""DoRA (Liu et al. 2024), rank 8: 940,032 parameters on T5-base (0.422 %).

On the sites of lora.py, with its rate. The authors report none on T5.

python -m experiments.run --config=experiments/configs/dora.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('dora')
  config.optim.rate = 1e-3
  return config
