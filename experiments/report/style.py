"""How pictures look: one colour and one marker for each method in all of them, and their bytes."""

import io
from collections.abc import Callable
from typing import Any

SIZE, DPI = (9, 6), 100  # inches, dots per inch
SETTINGS: dict[Any, Any] = {'font.size': 11, 'axes.titlesize': 12, 'text.parse_math': False}

# The colours of Okabe and Ito for the methods that are drawn as lines, which must be told apart
# with any sight; for the others, which carry a marker and a name, shades that stay off those.
LOOKS = {
  'full': ('#000000', 'o'),
  'adapter': ('#0072B2', 's'),
  'pfeiffer': ('#56B4E9', 'D'),
  'adapterdrop': ('#332288', 'v'),
  'low_rank_adapter': ('#8C6BB1', '^'),
  'prompt': ('#009E73', 'P'),
  'prompt_vocabulary': ('#117733', 'X'),
  'intrinsic_said': ('#777777', '<'),
  'bitfit': ('#E69F00', '>'),
  'phm_adapter': ('#882255', 'p'),
  'compacter': ('#D55E00', '*'),
  'compacter_pp': ('#CC79A7', 'h'),
}
OTHER = '#777777', '.'


def look(row: str) -> dict[str, Any]:
  """Colour and marker of a method."""
  colour, marker = LOOKS.get(row, OTHER)
  return {'color': colour, 'marker': marker}


def dark(row: str) -> tuple[float, ...]:
  """The colour of a method for text, which must be darker than an area to be read on white."""
  from matplotlib.colors import to_rgb

  return tuple(0.7 * part for part in to_rgb(look(row)['color']))


def png(paint: Callable[[Any], None], source: str) -> bytes:
  """The bytes of what `paint` draws on a figure.

  source: the fingerprint of what is shown; it is noted in the file. Equal calls give equal bytes.
  """
  import matplotlib
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  out = io.BytesIO()
  with matplotlib.rc_context():
    matplotlib.rcdefaults()  # the user's own would change the bytes
    matplotlib.rcParams.update(SETTINGS)
    figure = Figure(figsize=SIZE, dpi=DPI, layout='constrained')
    FigureCanvasAgg(figure)
    paint(figure)
    figure.savefig(out, format='png', metadata={'Software': None, 'Source': source})
  return out.getvalue()
