"""Where names stand beside their points, so that none covers another or what is drawn."""

import numpy as np

DIRECTIONS = 16
DISTANCES = 10, 18, 28, 42, 62  # pixels between a point and its name, nearest first
CLOSE = 12  # pixels from a point that are its own
SWEEPS = 6  # in which each name looks for a better place, given all others
FAR = 0.06  # square pixels of overlap that the square of the distance is worth
MISTAKEN = 250.0  # the same for each other point that seems to bear the name
OUTSIDE = 20.0  # how much worse it is to leave the picture than to cover something


def place(
  points: np.ndarray, sizes: np.ndarray, bounds: np.ndarray, taken: np.ndarray
) -> np.ndarray:
  """Lower left corners of the names [n, 2], in pixels.

  points, sizes: of the names, [n, 2]. bounds: the box [4] (left, bottom, right, top) they must stay
  in. taken: boxes [m, 4] not to be covered.
  """
  choices = [_candidates(point, size) for point, size in zip(points, sizes)]
  chosen = np.array([boxes[0] for boxes, _ in choices])
  fixed = [
    FAR * far**2
    + _overlap(boxes, taken)
    + OUTSIDE * _outside(boxes, bounds)
    + MISTAKEN * _mistaken(boxes, points[i], np.delete(points, i, 0))
    for i, (boxes, far) in enumerate(choices)
  ]
  for _ in range(SWEEPS):
    for i, (boxes, _) in enumerate(choices):
      others = np.delete(chosen, i, 0)
      crossings = _through(points[i], boxes, others).sum(1)
      for point, box in zip(np.delete(points, i, 0), others):
        crossings = crossings + _through(point, box[None], boxes)[0]
      cost = fixed[i] + 2 * _overlap(boxes, others) + MISTAKEN * crossings
      chosen[i] = boxes[np.argmin(cost)]
  return chosen[:, :2]


def _candidates(point: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Boxes [k, 4] around a point, and how far each is from it [k]."""
  angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
  way = np.stack([np.cos(angles), np.sin(angles)], 1)
  distance = np.repeat(DISTANCES, DIRECTIONS).astype(float)
  # A name touches the point with its side, edge or corner that lies towards it.
  reach = way / np.abs(way).max(1, keepdims=True)
  centre = point + np.tile(way, (len(DISTANCES), 1)) * distance[:, None]
  centre = centre + np.tile(reach, (len(DISTANCES), 1)) * size / 2
  return np.concatenate([centre - size / 2, centre + size / 2], 1), distance


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
  """The area of each box [k, 4] that the others [m, 4] cover, summed over them [k]."""
  low = np.maximum(boxes[:, None, :2], others[None, :, :2])
  high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
  return np.prod(np.clip(high - low, 0, None), -1).sum(1)


def _outside(boxes: np.ndarray, bounds: np.ndarray) -> np.ndarray:
  """The area of each box that is not within the bounds."""
  whole = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
  return whole - _overlap(boxes, bounds[None])


def _through(point: np.ndarray, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Whether the line from a point to its name in each box [k, 4] crosses other names [m, 4]."""
  near = np.clip(point, boxes[:, :2], boxes[:, 2:])
  on = point + np.linspace(0, 1, 9)[:, None, None] * (near - point)  # [9, k, 2]
  inside = (on[:, :, None] > others[:, :2]) & (on[:, :, None] < others[:, 2:])
  return np.any(inside.all(-1), 0)


def _mistaken(boxes: np.ndarray, own: np.ndarray, others: np.ndarray) -> np.ndarray:
  """How many of the other points [m, 2] lie at each box, or at the line from it to its own."""
  near = np.clip(own, boxes[:, :2], boxes[:, 2:])  # [k, 2]: where the line ends
  way = near - own
  part = ((others[None] - own) * way[:, None]).sum(-1) / (way**2).sum(-1)[:, None]
  on_line = own + np.clip(part, 0, 1)[..., None] * way[:, None]
  on_box = np.clip(others[None], boxes[:, None, :2], boxes[:, None, 2:])
  crossed = np.hypot(*np.moveaxis(on_line - others, -1, 0)) < CLOSE
  beside = np.hypot(*np.moveaxis(on_box - others, -1, 0)) < 1.5 * CLOSE
  return (crossed | beside).sum(1)
