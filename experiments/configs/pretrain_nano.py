"""Pretrains the small T5 that ships with the package: span corruption on plain text.

    python -m experiments.pretrain --config=experiments/configs/pretrain_nano.py \
        --config.text.dir=DIR --workdir=W

DIR holds files of paragraphs, .txt or .txt.gz, those for the dev loss with `dev` in their names.
W receives model/ in Hugging Face's format. docs/pretraining.md tells what it reaches and costs.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  config = ConfigDict()
  # T5 to go on from; '' draws one of the shape below.
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
  # Where the tokenizer is; '' is where the model is or, for a fresh T5, trains a vocabulary.
  config.tokenizer = ''
  # Pieces of that vocabulary; 100 sentinels come on top.
  config.pieces = 8_000

  config.text = ConfigDict()
  # Folder with the text, and the files in it to train on and to measure the loss on.
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
  config.dtype = 'float32'
  # What the backward pass computes again: 'none', 'dots' or 'full'.
  config.remat = 'none'
  # T5 1.1 and later were pretrained without dropout.
  config.dropout = False
  config.seed = 42
  config.steps = 10_000
  config.batch_size = 64
  # Parts a batch is cut into, one after the other, to save memory; the result is the same.
  config.accumulate = 1
  # Steps between dev losses, between checkpoints to resume from, and between reports.
  config.eval_every = 500
  config.save_every = 250
  config.log_every = 50

  config.optim = ConfigDict()
  # Adafactor's rate is relative to the size of each weight.
  config.optim.optimizer = 'adafactor'
  config.optim.rate = 1e-2
  config.optim.schedule = 'cosine'
  config.optim.warmup = 500
  config.optim.decay = 0.0
  config.optim.clip = 1.0
  config.optim.b1 = 0.9
  config.optim.b2 = 0.999
  config.optim.epsilon = 1e-8
  return config
