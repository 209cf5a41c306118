"""The benchmark of tokenising runs, and its table has what it promises."""

import re

from experiments.benchmarks import tokenizing


def test_the_table(capsys):
  tokenizing.main(['--task=quickstart', '--rounds=2'])
  told = capsys.readouterr().out
  rows = dict(re.findall(r'^\| ([a-z][\w ]*) \| ([\d,]+) \|', told, re.MULTILINE))
  assert list(rows) == ['tokenised', 'tokenised and kept', 'read back', 'batches of 32']
  assert all(int(speed.replace(',', '')) > 0 for speed in rows.values())
  assert re.search(r'a file of [\d,]+ bytes', told) and 'sentencepiece' in told


def test_rounds_alternate():
  order = []
  works = {name: lambda name=name: order.append(name) for name in 'ab'}
  seconds = tokenizing.alternate(works, 3)
  assert order == list('ababab') and {name: len(s) for name, s in seconds.items()} == {
    'a': 3,
    'b': 3,
  }
