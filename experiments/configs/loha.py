"""LoHa (Yeh et al. 2024), rank 8: 1,769,472 parameters on T5-base (0.794 %).

On the sites of lora.py, with its rate. The authors tune models of images and report none on T5.

python -m experiments.run --config=experiments/configs/loha.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('loha')
  config.optim.rate = 1e-3
  return config
