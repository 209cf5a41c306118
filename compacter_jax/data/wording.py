"""How the columns of a row become the pieces of its source text, and a score its target."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def named(*columns: str, **renamed: str) -> Callable[[Row], list[str]]:
  """row -> ['column:', text, ...] in their order; `renamed` are shown name=column."""
  shown = {c: c for c in columns} | renamed
  return lambda row: [piece for name, c in shown.items() for piece in (f'{name}:', row[c])]


def column(name: str) -> Callable[[Row], str]:
  """row -> the text of that column."""
  return lambda row: row[name]


def without_markup(*columns: str) -> Callable[[Row], list[str]]:
  """As `named`, with `<br>` read as a space and `<b>`, `</b>` dropped (MultiRC)."""
  clean = lambda text: re.sub('</?b>', '', text.replace('<br>', ' '))
  return lambda row: [piece for c in columns for piece in (f'{c}:', clean(row[c]))]


def marked_spans(row: Row) -> list[str]:
  """['text:', text] with the first span written `* span *` and the second `# span #` (WSC).

  A span is looked for at its word only and without regard to case, since the official rows spell
  it 'The table' within a sentence. Two kinds of span stay unmarked, as in the reference: one that
  is not at its word (one official row), and a second that overlaps the first (one row too).
  """
  text, first, second = row['text'], _place(row, 'span1'), _place(row, 'span2')
  if first and second and first[0] < second[1] and second[0] < first[1]:
    second = None
  places = [(*place, mark) for place, mark in ((first, '*'), (second, '#')) if place]
  for start, end, mark in sorted(places, reverse=True):  # from the right: earlier places hold
    text = f'{text[:start]}{mark} {text[start:end]} {mark}{text[end:]}'
  return ['text:', text]


def candidate(row: Row) -> str:
  """The first span as the sentence spells it; as the row does where it is not at its word."""
  place = _place(row, 'span1')
  return row['text'][slice(*place)] if place else row['span1_text']


def marked_pronoun(row: Row) -> list[str]:
  """['wsc:', text] with the pronoun, the second span, written `*it*` (T5's texts).

  Where the pronoun is not at its word, the nearest such word is marked, as T5's code does by hand.
  """
  text, wanted = row['text'], row['span2_text']
  place = _place(row, 'span2') or _nearest(text, wanted, row['span2_index'])
  if place is None:
    return ['wsc:', text]
  start, end = place
  return ['wsc:', f'{text[:start]}*{text[start:end]}*{text[end:]}']


def cloze(row: Row) -> list[str]:
  """['record query:', query, 'entities:', 'A, B', 'passage:', passage] (ReCoRD).

  A passage ends in highlights, each on its own line after one that says '@highlight'. They are
  joined to it as sentences: by a space after `.`, `?`, `!` or a quotation mark, else by '. '.
  """
  passage = re.sub(r'(?<=[.?!"\'])\n@highlight\n', ' ', row['passage'])
  passage = passage.replace('\n@highlight\n', '. ')
  return [
    *('record query:', row['query']),
    *('entities:', ', '.join(row['entities'])),
    *('passage:', passage),
  ]


def _nearest(text: str, wanted: str, index: int) -> tuple[int, int] | None:
  """The place of the whole word or words `wanted` that stand nearest to the word `index`."""
  found = [match.span() for match in re.finditer(rf'(?<!\w){re.escape(wanted)}(?!\w)', text)]
  distance = lambda place: abs(len(text[: place[0]].split()) - index)
  return min(found, key=distance, default=None)


def _place(row: Row, span: str) -> tuple[int, int] | None:
  """Start and end of the span in the text, None if it is not at its word."""
  text, wanted, index = row['text'], _folded(row[f'{span}_text']), row[f'{span}_index']
  words = [match.start() for match in re.finditer(r'\S+', text)]
  if not 0 <= index < len(words):
    return None
  start, end = words[index], words[index] + len(wanted)
  return (start, end) if _folded(text[start:end]) == wanted else None


def one_decimal(score: float) -> str:
  """An STS-B score as text: 1.333 -> '1.3'.

  Scores reached the reference as float32, which decides ties in decimal: 2.45 is read '2.5'.
  """
  return f'{np.round(float(np.float32(score)), 1):.1f}'


def fifths(score: float) -> str:
  """An STS-B score in steps of 0.2: 1.333 -> '1.4'.  0 to 5 has 26 of them; the paper says 21.

  As T5's code computes it: in float32, a half step to the even one.
  """
  return f'{np.round(np.float32(score) * np.float32(5)) / np.float32(5):.1f}'


def _folded(span: str) -> str:
  return re.sub(r'\s', ' ', span).lower()
