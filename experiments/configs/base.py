"""Every setting, its default and its meaning. The configs beside this one change what differs.

The defaults are the recipe of Karimi Mahabadi et al. 2021 (arXiv:2106.04647) as their code runs
it on GLUE: AdamW without decay, gradients clipped at 1, 500 steps of warmup, then linearly to 0,
batches of 100, sources of 128 ids, greedy labels, seed 42. For SuperGLUE the paper reports sources
of 256 ids and batches of 32 (recalled, not read again).
"""

import typing

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
  """All settings but the method."""
  config = ConfigDict()

  # T5: a folder in Hugging Face's format, a name on the Hub (owner/model@COMMIT never changes), or
  # 'nano', the one that is shipped.
  config.model = 'nano'
  # Where the tokenizer is; '' means where the model is.
  config.tokenizer = ''
  # An adapter, or the folder of a run that left one, whose arrays training starts from: of the same
  # method, T5 and tokenizer. '' draws them.
  config.start_from = ''
  # Draw the frozen weights at random instead of reading them: what pretraining is worth.
  config.random_base = False
  # Frozen weights are kept as the 'file' has them, or in 'float32' or 'bfloat16'.
  config.weights_dtype = 'float32'
  # Activations: 'float32' or 'bfloat16'. What is tuned is always float32.
  config.dtype = 'float32'
  # What the backward pass computes again to save memory: 'none', 'dots' or 'full'.
  config.remat = 'none'
  # Layers per turn of the loop over layers; more compile longer and run faster on a CPU.
  config.unroll = 1
  # Draws the initial arrays, the order of the rows and the dropout.
  config.seed = 42

  # Steps to train; 0 counts by epochs.
  config.steps = 0
  # The paper takes 3, and 20 for its small tasks: mrpc, cola, stsb, boolq, copa.
  config.epochs = 3.0
  # Rows of a step.
  config.batch_size = 100
  # Parts a batch is cut into, one after the other, to save memory; the result is the same.
  config.accumulate = 1
  # Rows generated at a time.
  config.eval_batch_size = 128
  # Steps between evaluations on validation rows; the best arrays are kept. 0 is once an epoch.
  config.eval_every = 0
  # Steps between checkpoints, beside those at each evaluation; 0 is none.
  config.save_every = 200
  # Steps between reports of the loss.
  config.log_every = 20
  # Seconds after which a step, or a batch of an evaluation, that takes ten times as long as usual
  # ends the process: it hangs. What is compiled first, the first few, and rows or a disk that are
  # waited for may take an hour. 0 is never.
  config.watchdog = 300.0
  # A step whose loss or gradient is not finite changes nothing. 'stop' ends the run there; a number
  # leaves out as many such steps, notes and counts them, and then stops.
  config.nonfinite = 'stop'
  # Steps whose loss is over so many times the median of the 50 losses before it are told and noted
  # with their rows, and applied all the same; 0 looks for none.
  config.leap = 0.0

  # Devices, and how arrays are split over them.
  config.mesh = mesh()

  config.data = ConfigDict()
  # GLUE: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte, wnli and ax. SuperGLUE: boolq, cb, copa,
  # multirc, record, superglue_rte, wic, wsc, axb and axg. Or quickstart, which needs no files. Or
  # the path of a task.json of one's own, or of its folder: docs/your_own_data.md.
  config.data.task = 'sst2'
  # The texts: 'compacter', as the paper's code has them; 't5', as T5 was pretrained on them, with
  # words for answers; 'corrected', the first with what it lost (data/styles.py).
  config.data.style = 'compacter'
  # Of the rows: 'tfds', tensorflow-datasets, prepared once by experiments.prepare; 'files', the
  # official files; 'auto', the files where there is a dir, else tfds: docs/data.md.
  config.data.source = 'auto'
  # 'files': the folder that holds the task's files, itself or in a folder of the task's name.
  # 'tfds': the --data_dir that was prepared; '' is tensorflow-datasets' own default.
  config.data.dir = ''
  # Whether the task's name leads each source. The paper leaves it out where adapters train. In
  # the style 't5' it is part of the text and always there.
  config.data.prefix = True
  # How the rows of a step become a table: 'padded' to the longest of them, as the paper does;
  # 'bucketed' with rows of like length; 'packed' several to a line, which wastes next to nothing.
  # Padded and packed steps learn from the same rows and differ by rounding and in their dropout.
  config.data.batching = 'padded'
  # Longest source and target in ids, the end token counted; sources are cut and counted.
  config.data.max_source = 128
  config.data.max_target = 16
  # Whether longer targets are cut and counted too; else they are an error. Whole answers are scored
  # against all the same, and no more than max_target ids are generated.
  config.data.allow_target_truncation = False
  # What is validated and tested on, where the official test answers are not public: as the 'paper'
  # has it; or on the 'official' validation rows, all of them, validating on held-out training rows;
  # or 'grouped', as the paper but so that no text, paragraph or premise is in two parts and ReCoRD
  # has one example per query (docs/data.md).
  config.data.splits = 'paper'
  # Of the permutation that carves out validation and test rows; 42 is the paper's.
  config.data.seed = 42
  # Of the permutation whose first rows are the training sample; -1 is data.seed, as published.
  # Validation and test rows do not depend on it, but for the shots to validate on.
  config.data.sample_seed = -1
  # Training rows, exactly so many: few make a low-resource setting; 0 takes all.
  config.data.max_train = 0
  # Whether those have every label equally often.
  config.data.balanced = False
  # Instead of max_train: so many training rows of each label and as many others to validate on; of
  # a task without labels so many in all. 0 is for none.
  config.data.shots = 0
  # Caps on the other rows; 0 takes all.
  config.data.max_validation = 0
  config.data.max_test = 0
  # Unusable rows that a file may have; they are left out and counted. QQP's official training file
  # has some: lines that are cut in two.
  config.data.max_bad_rows = 0
  # Folder where the ids of the texts are kept, so that they are tokenised once; remove it at any
  # time. 'auto' is compacter_jax in $XDG_CACHE_HOME or in ~/.cache; '' keeps nothing.
  config.data.cache = 'auto'

  # How what is trained is updated: see below.
  config.optim = optim()
  return config


def mesh() -> ConfigDict:
  """How devices are arranged."""
  config = ConfigDict()
  # Batches are split over data and fsdp, weights over fsdp and tensor; one size may be -1 and takes
  # the devices that are left.
  config.data = -1
  config.fsdp = 1
  config.tensor = 1
  # How many devices are used; 0 is all.
  config.devices = 0
  return config


def optim() -> ConfigDict:
  """How trained arrays are updated."""
  config = ConfigDict()
  # 'adamw' or 'adafactor'.
  config.optimizer = 'adamw'
  # Peak learning rate.
  config.rate = 3e-3
  # After the warmup: 'linear' to 0, 'cosine' to 0, 'constant', or 'inverse_sqrt' in the step.
  config.schedule = 'linear'
  # Steps over which the rate rises from 0.
  config.warmup = 500
  # Weight decay of AdamW: it pulls all that is trained towards 0, norms, gains and biases as well.
  config.decay = 0.0
  # Largest global norm of the gradient; 0 does not clip.
  config.clip = 1.0
  # Of AdamW.
  config.b1 = 0.9
  config.b2 = 0.999
  config.epsilon = 1e-8
  return config


def method(name: str, **fields) -> ConfigDict:
  """The settings of one method, all of them, so that each can be changed on the command line."""
  from compacter_jax import methods

  types = typing.get_type_hints(methods.method_class(name))
  out = ConfigDict()
  for field, value in methods.to_config(methods.load(name, **fields)).items():
    if value is None:  # the command line must know what may stand there instead
      kind = next(t for t in typing.get_args(types[field]) if t is not type(None))
      value = config_dict.placeholder(typing.get_origin(kind) or kind)
    out[field] = value
  return out


def norms() -> ConfigDict:
  """T5's layer norms, which the paper trains with every adapter."""
  return method('unfreeze', where=r'.*norm/scale')
