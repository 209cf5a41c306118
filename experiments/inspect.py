"""Shows a task as a run sees it: examples, answers, lengths, padding, splits; reads no weights.

    python -m experiments.inspect --config=experiments/configs/quickstart.py
    python -m experiments.inspect --config.data.task=sst2 --config.data.dir=DIR --out=FOLDER

Takes the settings of experiments.run. Prints five training examples as text and as ids, how often
which answer is right, how long the texts are and how many are cut, how much of a step is padding
with each batching, how many steps a run takes, and which rows each part has. --out leaves a picture
of the lengths, lengths.png, and what is printed, report.md and report.json, in that folder.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parent / 'configs' / 'compacter.py'
PICTURE = 'lengths.png'


def show(job: Any, form: str, out: str) -> None:
  """Prints what is found, and writes it into the folder `out` if there is one."""
  from experiments import inspecting, inspecting_text

  found = inspecting.inspect(job)
  if out:
    write(Path(out), found)
  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors='backslashreplace')  # pieces are of any script
  if form == 'json':
    print(json.dumps(found, indent=1))
    return
  print(inspecting_text.text(found))
  where = f'{Path(out) / PICTURE}' if out else 'none; --out=FOLDER leaves one there'
  print(f'\nPicture of the lengths: {where}')


def write(folder: Path, found: dict[str, Any]) -> None:
  """Leaves the picture, report.md and report.json; raises StorageError where it cannot."""
  from compacter_jax import tensor_file
  from experiments import folders, inspecting_picture, inspecting_text

  folders.make_folder(folder)
  with tensor_file.atomic(folder / PICTURE) as file:
    file.write(inspecting_picture.lengths_png(found, inspecting_text.title(found)))
  with tensor_file.atomic(folder / 'report.md') as file:
    file.write(inspecting_text.markdown(found, PICTURE).encode())
  folders.write_json(folder / 'report.json', found)


def start() -> None:
  """Runs the command."""
  from absl import flags

  from experiments import commandline

  form = flags.DEFINE_enum('format', 'text', ['text', 'json'], 'What is printed.')
  out = flags.DEFINE_string('out', '', 'The folder for the picture and the report.')
  commandline.start(
    lambda job, _: show(job, form.value, out.value), __doc__, default=CONFIG, writes=False
  )


if __name__ == '__main__':
  start()
