"""Whether a SentencePiece model can be read, found out in a process of its own.

The library is not safe against hostile files: some end the process that reads them, which no
`except` sees. So a file that is not known is first read where that harms nobody, with limits to
memory and time.
"""

import hashlib
import signal
import subprocess
import sys

# SHA-256 of models that are known to be sound: that of the shipped T5, and T5's own.
KNOWN = {
  '9f6ddedf3085cdab55dd6d17e05d2cc372544193ee8c9b0d9d4b60c923fb092e',
  'd60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86',
}
MEMORY = 2 * 2**30  # bytes; mT5's vocabulary of 250,000 pieces takes 0.1 GB
SECONDS = 20  # of its own time, not of the clock
_faults: dict[str, str] = {}  # by hash, of those that were tried

# All that is done with a model later on. What the library raises is for the reader to tell.
_CODE = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import sentencepiece
pieces = sentencepiece.SentencePieceProcessor()
try:
  pieces.LoadFromSerializedProto(sys.stdin.buffer.read())
except (RuntimeError, OSError):
  sys.exit(0)
for i in range(pieces.GetPieceSize()):
  pieces.IdToPiece(i)
texts = ['', 'Some text, 1 2 3.', 'x' * 2000, '\\u00e9\\u4e2d \\U0001f600\\n\\t\\u2581 </s>']
for ids in pieces.Encode(texts):
  pieces.DecodeIds(ids)
pieces.DecodeIds(list(range(min(pieces.GetPieceSize(), 9000))))
"""


def fault(content: bytes) -> str:
  """How a process that uses a model ends: a signal or an error; '' if it does not end by it."""
  digest = hashlib.sha256(content).hexdigest()
  if digest in KNOWN:
    return ''
  if digest not in _faults:
    _faults[digest] = _tried(content)
  return _faults[digest]


def _tried(content: bytes) -> str:
  """The same of a file that is not known."""
  # -P: a file of that name where the program runs is not the library.
  done = subprocess.run([sys.executable, '-P', '-c', _CODE], input=content, capture_output=True)
  if not done.returncode:
    return ''
  if done.returncode < 0:
    return f'signal {signal.Signals(-done.returncode).name}'
  told = done.stderr.decode(errors='replace').strip().splitlines()
  return told[-1][:300] if told else f'exit code {done.returncode}'
