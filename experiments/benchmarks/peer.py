"""Compacter on a T5-base-sized checkpoint: this library beside `adapters` on torch, in one run.

    pip install torch adapters
    python -m experiments.benchmarks.peer

Both load the same random checkpoint from disk, graft Compacter (n 4, reduction 32, gelu_new), take
training steps on the same batch with AdamW and dropout, save the adapter, load it again and
generate. Each lives in a process of its own; their steps alternate, so that a machine that slows
down slows both. Prints medians, their ratio, and the peak of resident memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BATCH, SOURCE, TARGET, VOCAB, NEW = 8, 128, 8, 32_000, 8


def main() -> None:
  """Runs both and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--steps', type=int, default=10, help='training steps of each')
  parser.add_argument('--size', default='t5-base', help='a published size')
  parser.add_argument('--worker', choices=('ours', 'peer'), help=argparse.SUPPRESS)
  parser.add_argument('--folder', default='', help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.worker:
    _serve(Ours(flags.folder) if flags.worker == 'ours' else Peer(flags.folder))
    return
  with tempfile.TemporaryDirectory() as folder:
    checkpoint(flags.size, folder)
    print(table(measure(folder, flags.steps), flags.size))


def checkpoint(size: str, folder: str) -> None:
  """A random T5 of that size in Hugging Face's format, written by a process that then ends."""
  code = (
    'import jax; from compacter_jax import t5; '
    f'cfg = t5.size_named({size!r}); '
    f't5.save({folder!r}, cfg, t5.random_weights(cfg, jax.random.key(0)))'
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def measure(folder: str, steps: int) -> dict[str, dict[str, Any]]:
  """Seconds of every phase and the peak of memory, for each of the two."""
  command = [sys.executable, '-m', 'experiments.benchmarks.peer', '--folder', folder, '--worker']
  workers = {
    name: subprocess.Popen(
      [*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for name in ('ours', 'peer')
  }
  out: dict[str, dict[str, Any]] = {name: {'step': []} for name in workers}
  try:
    for phase in ['load', 'first_step', *['step'] * steps, 'save', 'reload', 'predict', 'peak']:
      for name, worker in workers.items():
        time.sleep(0.5)  # threads of the one spin on for a while after its step
        answer = _ask(worker, phase)
        out[name]['step'].append(answer) if phase == 'step' else out[name].update({phase: answer})
  finally:
    for worker in workers.values():
      worker.kill()
  for result in out.values():
    result['step'] = statistics.median(result['step'])
  return out


def _ask(worker: subprocess.Popen, phase: str) -> Any:
  if worker.stdin is None or worker.stdout is None:
    raise RuntimeError('the process that measures has no pipes')
  worker.stdin.write(f'{phase}\n')
  worker.stdin.flush()
  for line in worker.stdout:  # libraries print too
    if line.startswith('answer '):
      return json.loads(line.removeprefix('answer '))
  raise RuntimeError(f'the process that measures ended during {phase!r}')


def _serve(subject: Any) -> None:
  for line in sys.stdin:
    begin = time.perf_counter()
    answer = getattr(subject, line.strip())()
    seconds = time.perf_counter() - begin
    print('answer', json.dumps(seconds if answer is None else answer), flush=True)


def peak() -> int:
  """The largest resident memory of this process so far, in bytes."""
  line = next(x for x in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in x)
  return int(line.split()[1]) * 1024


def batch() -> tuple[Any, Any]:
  """Source [B,S] and labels [B,T], the same for both."""
  import numpy as np

  random = np.random.default_rng(0)
  draw = lambda width: random.integers(3, VOCAB, (BATCH, width), dtype=np.int32)
  return draw(SOURCE), draw(TARGET)


class Ours:
  """compacter_jax."""

  def __init__(self, folder: str):
    self.folder = folder

  def load(self) -> None:
    """Reads T5, grafts Compacter and makes the optimizer."""
    import jax

    import compacter_jax as cj
    from compacter_jax import methods, optim, train

    self.cfg, self.frozen = cj.t5.load(self.folder)
    norms, adapters = methods.load('unfreeze', where=r'.*norm/scale'), methods.load('compacter')
    self.model = cj.Model(self.cfg, cj.chain(norms=norms, adapters=adapters))
    tuned = self.model.init(jax.random.key(0), self.frozen)
    self.trimmed = self.model.trim(self.frozen)
    optimizer = optim.build(optim.Optim(rate=3e-3, warmup=0, schedule='constant'), 100)
    self.update = train.make_step(self.model, optimizer)
    self.state = train.start(tuned, optimizer)
    source, target = batch()
    self.batch = {'source': source, 'target': target}

  def step(self) -> None:
    """One update, to its end."""
    import jax

    self.state, metrics = self.update(self.state, self.trimmed, self.batch)
    jax.block_until_ready((self.state, metrics))

  first_step = step

  def save(self) -> None:
    """Writes the adapter file."""
    import compacter_jax as cj

    cj.save(f'{self.folder}/ours', self.model, self.state.tuned, cj.fingerprint(self.frozen))

  def reload(self) -> None:
    """Reads the adapter file."""
    import compacter_jax as cj

    self.model, self.tuned = cj.load(f'{self.folder}/ours', self.cfg, self.frozen)

  def predict(self) -> None:
    """Generates, compilation included."""
    import jax

    generate = jax.jit(self.model.generate, static_argnums=3)
    jax.block_until_ready(generate(self.tuned, self.trimmed, self.batch['source'], NEW))

  def peak(self) -> dict[str, int]:
    """Bytes of memory and of the file."""
    return {'memory': peak(), 'file': _size(f'{self.folder}/ours')}


class Peer:
  """adapters on torch."""

  def __init__(self, folder: str):
    os.environ['HF_HUB_OFFLINE'] = '1'
    self.folder = folder

  def load(self) -> None:
    """Reads T5, grafts Compacter and makes the optimizer."""
    import adapters
    import torch
    from transformers import T5ForConditionalGeneration

    self.model = T5ForConditionalGeneration.from_pretrained(self.folder, dtype=torch.float32)
    adapters.init(self.model)
    self.model.add_adapter('it', config=adapters.CompacterConfig(non_linearity='gelu_new'))
    self.model.train_adapter('it')
    self.model.train()
    trained = [p for p in self.model.parameters() if p.requires_grad]
    self.optimizer = torch.optim.AdamW(trained, lr=3e-3, weight_decay=0.0)
    source, target = batch()
    self.source, self.target = torch.tensor(source).long(), torch.tensor(target).long()

  def step(self) -> None:
    """One update."""
    import torch

    trained = [p for group in self.optimizer.param_groups for p in group['params']]
    self.optimizer.zero_grad()
    mask = torch.ones_like(self.source)
    loss = self.model(input_ids=self.source, attention_mask=mask, labels=self.target).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    self.optimizer.step()

  first_step = step

  def save(self) -> None:
    """Writes the adapter file."""
    self.model.save_adapter(f'{self.folder}/peer', 'it', with_head=False)

  def reload(self) -> None:
    """Reads the adapter file."""
    self.model.load_adapter(
      f'{self.folder}/peer', load_as='again', with_head=False, set_active=True
    )
    self.model.eval()

  def predict(self) -> None:
    """Generates."""
    import torch

    with torch.no_grad():
      self.model.generate(self.source, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)

  def peak(self) -> dict[str, int]:
    """Bytes of memory and of the file."""
    return {'memory': peak(), 'file': _size(f'{self.folder}/peer')}


def _size(folder: str) -> int:
  return sum(path.stat().st_size for path in Path(folder).rglob('*') if path.is_file())


def table(results: dict[str, dict[str, Any]], size: str) -> str:
  """Markdown: ours, the peer's, and the ratio."""
  lines = [
    f'{size} sizes, batch {BATCH} x {SOURCE} -> {TARGET}, float32, {os.cpu_count()} CPU cores',
    '',
    '| | compacter_jax | adapters on torch | ratio |',
    '|---|---|---|---|',
  ]
  for result in results.values():
    result |= {key: value / 2**20 for key, value in result.pop('peak').items()}
  rows = {
    'load': 'load and graft, s',
    'first_step': 'first step (with compilation), s',
    'step': 'training step, s (median)',
    'save': 'save the adapter, s',
    'reload': 'load the adapter, s',
    'predict': f'generate {NEW} tokens each, s',
    'memory': 'peak memory, MiB',
    'file': 'adapter file, MiB',
  }
  for key, label in rows.items():
    ours, peer = (results[name][key] for name in ('ours', 'peer'))
    lines.append(f'| {label} | {ours:.2f} | {peer:.2f} | {ours / peer:.2f} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  main()
