"""AdapterDrop (Rueckle et al. 2021): 1,101,984 parameters on T5-base (0.494 %).

No adapters in layers 0 to 4 of either stack, at a rate of 3e-4, as in Karimi Mahabadi et al. 2021.
There every layer norm trains, hence gradients reach the lowest layer. With
--config.method.norms.encoder_layers='(5,6,7,8,9,10,11)' nothing is differentiated below layer 5.

python -m experiments.run --config=experiments/configs/adapterdrop.py --workdir=W
"""

from experiments.configs import base

UPPER = tuple(range(5, 12))


def get_config():
  config = base.get_config()
  adapter = base.method('adapter', encoder_layers=UPPER, decoder_layers=UPPER)
  config.method = {'norms': base.norms(), 'adapters': adapter}
  config.data.prefix = False
  config.optim.rate = 3e-4
  return config
