r"""Fine-tunes T5: trains, evaluates, and leaves an adapter and results in a folder.

    python -m experiments.run --config=experiments/configs/compacter.py \
        --config.model=DIR_OR_NAME --config.data.task=sst2 --config.data.dir=DIR --workdir=W

Every setting of `experiments/configs/base.py` and of the method can be changed by
--config.NAME=VALUE. W receives config.json, metrics.jsonl, results.json and adapter/.
The scores at the end are told with 95 % intervals of a bootstrap of the rows.

On several hosts that share W, start the same command on each with --hosts=auto, or, where JAX does
not find them by itself, with --coordinator=HOST:PORT --processes=N --process=I.
"""

from experiments import commandline


def main(job, workdir: str, force: bool = False) -> None:
  """Runs a checked job.  force: see `Checkpoints.claim`."""
  from pathlib import Path

  from compacter_jax.checkpoints import processes
  from experiments import finetune, folders, messages, schema
  from experiments.inputs import read_inputs
  from experiments.preemption import Preemption

  # Raises for a folder of another run before all is read.
  folders.begun(Path(workdir), schema.as_config(job), schema.FREE)
  with Preemption().listening() as preemption:
    results = finetune.run(job, read_inputs(job), workdir, preemption=preemption, force=force)
  if not processes.is_first():
    return
  for part in 'validation', 'test':
    print(f'{part}: {messages.told(results[part], results["intervals"][part])}')
  print(f'adapter: {workdir}/adapter ({results["adapter_bytes"]:,} bytes of arrays)')


if __name__ == '__main__':
  commandline.start(main, __doc__, several=True)
