"""Pretrains a T5 of the shape of the one that ships: span corruption on plain text.

    python -m experiments.pretrain --config=experiments/configs/pretrain_nano.py \
        --config.text.dir=DIR --workdir=W

DIR holds texts in UTF-8 with empty lines between paragraphs, plain or gzipped: *0.txt to *9.txt
to train on, *dev.txt for the dev loss. W receives model/ in Hugging Face's format.
docs/pretraining.md tells the rest.
"""

from ml_collections import ConfigDict

from experiments.configs import base


def get_config() -> ConfigDict:
  config = ConfigDict()
  # T5 to go on from: a folder, a name on the Hub, or 'nano'; '' draws one of the shape below.
  config.model = ''
  # Of the fresh T5, as `t5.Config` names them.
  config.shape = ConfigDict()
  config.shape.d_model = 256
  config.shape.d_kv = 64
  config.shape.d_ff = 704
  config.shape.heads = 4
  config.shape.encoder_layers = 4
  config.shape.decoder_layers = 4
  config.shape.activation = 'gelu_new'
  config.shape.gated = True
  config.shape.tied_head = True
  # Where a spiece.model is; '' is where the model is or, for a fresh T5, trains a vocabulary.
  config.tokenizer = ''
  # Pieces of that vocabulary; 100 sentinels come on top.
  config.pieces = 8_000

  config.text = ConfigDict()
  # Folder with the text, and patterns of the files in it to train on and to measure the loss on.
  config.text.dir = ''
  config.text.train = '*[0-9].txt*'
  config.text.dev = '*dev.txt*'
  # Chunks that the loss is measured on along the way; the last time all are.
  config.text.dev_chunks = 1_024

  config.task = ConfigDict()
  # 'span_corruption' or 'prefix_lm', for adaptation to it.
  config.task.objective = 'span_corruption'
  # Ids of a chunk, the share of them that is noise, and the mean length of its spans.
  config.task.chunk = 150
  config.task.density = 0.15
  config.task.span = 3.0

  # Activations: 'float32' or 'bfloat16'. Weights are float32 while they train.
  config.dtype = 'bfloat16'
  # What the backward pass computes again: 'none', 'dots' or 'full'.
  config.remat = 'none'
  # Layers per turn of the loop over layers; more compile longer and run faster on a CPU.
  config.unroll = 4
  # Weights of the T5 that is written, and of no other file: 'float32' or 'bfloat16'.
  config.saved_dtype = 'bfloat16'
  # Whether T5's dropout is on; T5 1.1 and later were pretrained without.
  config.dropout = False
  # Draws a fresh T5, the order of the chunks, the noise and the dropout.
  config.seed = 42
  # Steps to train, and chunks of a step.
  config.steps = 10_000
  config.batch_size = 64
  # Parts a batch is cut into, one after the other, to save memory; the result is the same.
  # On a CPU 8 are faster than 1: the parts fit into its cache.
  config.accumulate = 1
  # Steps between dev losses, between checkpoints to resume from, and between reports.
  config.eval_every = 500
  config.save_every = 250
  config.log_every = 50
  # As in base.py: a step that hangs or is not finite, a loss that leaps, and the devices.
  config.watchdog = 300.0
  config.nonfinite = 'stop'
  config.leap = 0.0
  config.mesh = base.mesh()

  # As in base.py, but for these.
  config.optim = base.optim()
  # Adafactor's rate is relative to the size of each weight.
  config.optim.optimizer = 'adafactor'
  config.optim.rate = 1e-2
  # T5's was 'inverse_sqrt'.
  config.optim.schedule = 'cosine'
  return config
