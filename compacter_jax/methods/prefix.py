"""Prefix tuning (Li & Liang 2021, arXiv:2101.00190), section 4: P trained keys and values.

They stand in front of what each attention looks at, are seen by every query and have no position.
As published for encoder-decoders, encoder and decoder each have their own, and so has
cross-attention. Shapes: P length of the prefix, L layers, M hidden units, H heads, K head size.
"""

import dataclasses

import jax.numpy as jnp

from compacter_jax.inits import normal, uniform
from compacter_jax.method import Method, Spec, Tuned, match
from compacter_jax.settings import within
from compacter_jax.weights import whole


@dataclasses.dataclass(frozen=True)
class Prefix(Method):
  """Keys and values in front of those of each attention.

  Attributes:
    length: P.
    bottleneck: M of the network that makes the prefix while training (section 4.3): one for each
      kind of attention, of all its layers. None trains keys and values themselves.
    where: pattern of the attentions.
    encoder_layers, decoder_layers: which layers, from 0; None is all.
  """

  length: int = 200
  bottleneck: int | None = None
  where: str = r'.*attention'
  encoder_layers: tuple[int, ...] | None = None
  decoder_layers: tuple[int, ...] | None = None

  def specs(self, sites, frozen):
    """Keys and values [P, H K] of each layer, N(0, 0.02^2), or the network that makes them.

    The network, drawn as the authors' torch does: an embedding [P, D] from N(0, 1), a layer to M
    that all layers of T5 share, and one from M to the keys and one to the values of each layer;
    weights and biases from U(+-1 / sqrt(fan_in)).
    """
    del frozen
    within('length', self.length, 1)
    attentions = {path: site for path, site in sites.items() if f'{path}/k' in sites}
    hits = match(attentions, self.where, self.encoder_layers, self.decoder_layers)
    (inner,) = {sites[f'{path}/k'].fan_out for path in attentions}
    if self.bottleneck is None:
      front = lambda s: s.spec((self.length, inner), normal(0.02), (None, 'heads'))
      return Tuned({path: {'keys': front(s), 'values': front(s)} for path, s in hits.items()})
    within('bottleneck', self.bottleneck, 1)
    # Filed under the network's name, by which each layer finds what is shared.
    last = lambda s: _dense(s.spec, self.bottleneck, inner, 'heads')
    networks = {_network(path): s.fan_in for path, s in hits.items()}
    return Tuned(
      {path: {_network(path): {n: last(s) for n in _PARTS}} for path, s in hits.items()},
      {name: self._first(width) for name, width in networks.items()},
    )

  def attend(self, keys, values, p, shared):
    """[prefix; keys] and [prefix; values].  keys, values: [B,H,T,K] -> [B,H,P + T,K]."""
    p = self._made(p, shared)
    return _in_front(p['keys'], keys), _in_front(p['values'], values)

  def direct(self, tuned):
    """This method without its network and the arrays that the network makes: the same function.

    What is to be stored and served (section 4.3).  tuned: of this method -> (method, its Tuned).
    """
    site = {path: self._made(p, tuned.shared) for path, p in tuned.site.items()}
    return dataclasses.replace(self, bottleneck=None), Tuned(site)

  def _made(self, p, shared):
    """The prefix [..., P, H K]."""
    if self.bottleneck is None:
      return p
    ((name, last),) = p.items()
    first = shared[name]
    hidden = jnp.tanh(_apply(first['hidden'], first['embedding']))
    return {name: _apply(w, hidden) for name, w in last.items()}

  def _first(self, width):
    """The embedding and the layer to M, one copy.  width: of the embedding, D as published."""
    plain = lambda shape, init, axes: Spec(shape, init, axes)
    return {
      'embedding': Spec((self.length, width), normal(1.0), (None, None)),
      'hidden': _dense(plain, width, self.bottleneck, None),
    }


_PARTS = 'keys', 'values'


def _network(path):
  """'encoder/layers[5:12]/self_attention' -> 'encoder_self_attention'."""
  return whole(path)[0].replace('/layers/', '_')


def _dense(spec, fan_in, features, axis):
  """Specs of a dense layer.  spec: (shape, init, axes) -> Spec."""
  init = uniform(fan_in**-0.5)
  kernel = spec((fan_in, features), init, (None, axis))
  return {'kernel': kernel, 'bias': spec((features,), init, (axis,))}


def _apply(p, x):
  """x: [P, fan_in], kernel: [..., fan_in, features] -> [..., P, features]."""
  return x @ p['kernel'] + p['bias'][..., None, :]


def _in_front(new, old):
  """new: [P, H K], old: [B,H,T,K] -> [B,H,P + T,K]."""
  rows, heads, _, size = old.shape
  new = new.reshape(-1, heads, size).transpose(1, 0, 2)
  # Rounded behind the broadcast: its gradient is a sum over rows, in float32 so.
  new = jnp.broadcast_to(new, (rows, *new.shape)).astype(old.dtype)
  return jnp.concatenate([new, old], 2)
