"""SuperGLUE's tasks (Wang et al. 2019), asked as the paper's code asks them.

Texts are those of the reference implementation (rabeehk/compacter), answers digits, for ReCoRD a
name. Its quirks are kept because the published numbers rest on them: COPA is asked without its
question, and ReCoRD has a row for each answer.
"""

from compacter_jax import metrics
from compacter_jax.data import wording
from compacter_jax.data.glue import ENTAILMENT, SENTENCES, THREE, TWO
from compacter_jax.data.tasks import Row, Task, text_fault


def _answers_fault(row: Row) -> str:
  answers = row.get('answers')
  if not isinstance(answers, list) or not answers:
    return 'answers: missing; are these the rows of an unlabelled test split?'
  for answer in answers:
    problem = text_fault(answer) if isinstance(answer, str) else 'expected str'
    if problem:
      return f'answers: {problem}'
  return ''


SUPERGLUE = (
  Task(
    name='boolq',
    prefix='superglue-boolq',
    columns={'question': str, 'passage': str},
    pieces=wording.named('question', 'passage'),
    labels=TWO,
    split='small',
    metrics=(metrics.accuracy,),
    shared=wording.column('passage'),
  ),
  Task(
    name='cb',
    prefix='superglue-cb',
    columns=ENTAILMENT,
    pieces=wording.named('premise', 'hypothesis'),
    labels=THREE,
    split='small',
    metrics=(metrics.macro_f1, metrics.accuracy),
    shared=wording.column('premise'),
  ),
  Task(
    name='copa',
    prefix='superglue-copa',
    columns={'premise': str, 'choice1': str, 'choice2': str, 'question': str},
    pieces=wording.named('premise', 'choice1', 'choice2'),
    labels=TWO,
    split='small',
    metrics=(metrics.accuracy,),
  ),
  Task(
    name='multirc',
    prefix='superglue-multirc',
    columns={'paragraph': str, 'question': str, 'answer': str, 'idx': dict},
    pieces=wording.without_markup('question', 'answer', 'paragraph'),
    labels=TWO,
    split='small',
    metrics=(metrics.f1_with_invalid, metrics.exact_match_by_group),
    may_be_empty=('answer',),  # three of the official training answers are
    group=lambda row: row['idx']['question'],
    shared=wording.column('paragraph'),
  ),
  Task(
    name='record',
    prefix='superglue-record',
    columns={'passage': str, 'query': str, 'entities': list, 'idx': dict},
    pieces=wording.cloze,
    labels=(),
    split='large',
    metrics=(metrics.squad_exact_match, metrics.squad_f1),
    group=lambda row: (row['idx']['query'], *row['answers']),
    answers=lambda row: row['answers'],
    answer_fault=_answers_fault,
    shared=wording.column('passage'),
  ),
  Task(
    name='superglue_rte',
    prefix='superglue-rte',
    columns=ENTAILMENT,
    pieces=wording.named('premise', 'hypothesis'),
    labels=TWO,
    split='small',
    metrics=(metrics.accuracy,),
    shared=wording.column('premise'),
  ),
  Task(
    name='wic',
    prefix='superglue-wic',
    columns=SENTENCES | {'word': str},
    pieces=wording.named('sentence1', 'sentence2', 'word'),
    labels=TWO,
    split='small',
    metrics=(metrics.accuracy,),
  ),
  Task(
    name='wsc',
    prefix='superglue-wsc.fixed',
    columns={
      'text': str,
      'span1_text': str,
      'span1_index': int,
      'span2_text': str,
      'span2_index': int,
    },
    pieces=wording.marked_spans,
    labels=TWO,
    split='small',
    metrics=(metrics.accuracy,),
    shared=wording.column('text'),
  ),
  Task(  # a diagnostic set, asked as what it is trained on
    name='axb',
    prefix='superglue-rte',
    columns=SENTENCES,
    pieces=wording.named(premise='sentence1', hypothesis='sentence2'),
    labels=TWO,
    split='diagnostic',
    metrics=(metrics.matthews,),
    train_on='superglue_rte',
    shared=wording.column('sentence1'),
  ),
  Task(  # likewise; its rows come in pairs that differ in a pronoun's gender only
    name='axg',
    prefix='superglue-rte',
    columns=ENTAILMENT | {'idx': int},
    pieces=wording.named('premise', 'hypothesis'),
    labels=TWO,
    split='diagnostic',
    metrics=(metrics.accuracy, metrics.parity_by_group),
    group=lambda row: row['idx'] // 2,
    train_on='superglue_rte',
    shared=wording.column('premise'),
  ),
)
