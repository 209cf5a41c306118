"""LoKr (Yeh et al. 2024), rank 8: 78,336 parameters on T5-base (0.035 %).

On the sites of lora.py, with its rate. The authors tune models of images and report none on T5.

python -m experiments.run --config=experiments/configs/lokr.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('lokr')
  config.optim.rate = 1e-3
  return config
