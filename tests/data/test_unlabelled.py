"""Rows without answers are asked as those with answers are."""

import json

import pytest

from compacter_jax.data import unlabelled
from compacter_jax.data.registry import task_named
from compacter_jax.data.tasks import examples
from compacter_jax.errors import DataError
from tests.data.test_tasks import CASES, ROWS


@pytest.mark.parametrize(('style', 'name'), CASES)
def test_every_task_is_asked_as_in_training(style, name, tmp_path):
  task, row = task_named(name, style), ROWS[name]
  bare = {key: value for key, value in row.items() if key not in ('label', 'answers')}
  path = tmp_path / 'rows.jsonl'
  path.write_text(f'{json.dumps(bare)}\n{json.dumps(row | {"more": 1})}\n')
  for prefix in False, True:
    want = examples(task, row, prefix)[0].source
    assert unlabelled.questions(task, path, prefix) == [want, want]


def test_texts_are_the_lines():
  assert unlabelled.texts('a film\r\n\u2028b\n'.encode(), 'x') == ['a film', '\u2028b']
  for content, told in (b'a\xff', 'x:1'), (b'\0', 'NUL'), (b'', 'no texts'), (b'a\n \nb', 'x:2'):
    with pytest.raises(DataError, match=told):
      unlabelled.texts(content, 'x')
