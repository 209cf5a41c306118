"""GLUE's tasks (Wang et al. 2019), asked as the paper's code asks them.

Texts are those of the reference implementation (rabeehk/compacter), answers digits. Its quirks are
kept because the published numbers rest on them: STS-B is rounded to one decimal, not to steps of
0.2, and MNLI's hypothesis has no colon.
"""

from compacter_jax import metrics
from compacter_jax.data import wording
from compacter_jax.data.tasks import Task

SENTENCES = {'sentence1': str, 'sentence2': str}
ENTAILMENT = {'premise': str, 'hypothesis': str}
TWO, THREE = ('0', '1'), ('0', '1', '2')

GLUE = (
  Task(
    name='cola',
    prefix='cola',
    columns={'sentence': str},
    pieces=wording.named('sentence'),
    labels=TWO,
    split='small',
    metrics=(metrics.matthews,),
  ),
  Task(
    name='sst2',
    prefix='sst2',
    columns={'sentence': str},
    pieces=wording.named('sentence'),
    labels=TWO,
    split='large',
    metrics=(metrics.accuracy,),
  ),
  Task(
    name='mrpc',
    prefix='mrpc',
    columns=SENTENCES,
    pieces=wording.named('sentence1', 'sentence2'),
    labels=TWO,
    split='small',
    metrics=(metrics.f1_with_invalid, metrics.accuracy),
  ),
  Task(
    name='qqp',
    prefix='qqp',
    columns={'question1': str, 'question2': str},
    pieces=wording.named('question1', 'question2'),
    labels=TWO,
    split='large',
    metrics=(metrics.f1_with_invalid, metrics.accuracy),
  ),
  Task(
    name='stsb',
    prefix='stsb',
    columns=SENTENCES,
    pieces=wording.named('sentence1', 'sentence2'),
    labels=None,
    split='small',
    metrics=(metrics.pearson, metrics.spearman),
    answers=lambda row: [wording.one_decimal(row['label'])],
  ),
  Task(
    name='mnli',
    prefix='mnli',
    columns=ENTAILMENT,
    pieces=lambda row: ['premise:', row['premise'], 'hypothesis', row['hypothesis']],
    labels=THREE,
    split='mnli',
    metrics=(metrics.accuracy,),
    shared=wording.column('premise'),
  ),
  Task(
    name='qnli',
    prefix='qnli',
    columns={'question': str, 'sentence': str},
    pieces=wording.named('question', 'sentence'),
    labels=TWO,
    split='large',
    metrics=(metrics.accuracy,),
    shared=wording.column('question'),
  ),
  Task(
    name='rte',
    prefix='rte',
    columns=SENTENCES,
    pieces=wording.named('sentence1', 'sentence2'),
    labels=TWO,
    split='small',
    metrics=(metrics.accuracy,),
    shared=wording.column('sentence1'),
  ),
  Task(
    name='wnli',
    prefix='wnli',
    columns=SENTENCES,
    pieces=wording.named('sentence1', 'sentence2'),
    labels=TWO,
    split='small',
    metrics=(metrics.accuracy,),
    shared=wording.column('sentence1'),
  ),
  Task(  # the diagnostic set, asked as what it is trained on
    name='ax',
    prefix='mnli',
    columns=ENTAILMENT,
    pieces=lambda row: ['premise:', row['premise'], 'hypothesis', row['hypothesis']],
    labels=THREE,
    split='diagnostic',
    metrics=(metrics.matthews,),
    train_on='mnli',
    shared=wording.column('premise'),
  ),
)
