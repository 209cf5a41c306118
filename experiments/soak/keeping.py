"""`experiments.run` whose checkpoints stay when it has ended, so that its last state is there.

python -m experiments.soak.keeping --config=... --workdir=W
"""

from experiments import commandline, run


def main(*args, **kwargs) -> None:
  """As `run.main`."""
  from experiments import leftovers

  leftovers.clear = lambda folder: None
  run.main(*args, **kwargs)


if __name__ == '__main__':
  commandline.start(main, run.__doc__, several=True)
