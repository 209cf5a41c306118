"""LoRA (Hu et al. 2022), rank 8: 884,736 parameters on T5-base (0.397 %).

On queries and values as in the authors' runs. They report none on T5: the rate is ours.

python -m experiments.run --config=experiments/configs/lora.py --workdir=W
"""

from experiments.configs import base


def get_config():
  config = base.get_config()
  config.method = base.method('lora')
  config.optim.rate = 1e-3
  return config
