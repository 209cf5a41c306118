"""The places of T5 that a method may edit."""

from compacter_jax.method import Site
from compacter_jax.t5.config import Config


def sites(cfg: Config) -> dict[str, Site]:
  """Every place that a method may edit, by path: the modules of T5 that call their hook."""
  d, ff, inner = cfg.d_model, cfg.d_ff, cfg.heads * cfg.d_kv
  out = [Site(f'{stack}/norm', d, d, None) for stack in ('encoder', 'decoder')]
  out.append(Site('lm_head', d, cfg.vocab, None))
  wi = ('wi_0', 'wi_1') if cfg.gated else ('wi',)
  for stack, depth in ('encoder', cfg.encoder_layers), ('decoder', cfg.decoder_layers):
    attentions = ('self_attention', 'cross_attention')[: 1 + (stack == 'decoder')]
    places = [('ffn', d, d), ('ffn/activation', ff, ff), ('ffn/wo', ff, d), ('ffn_norm', d, d)]
    places += [(f'ffn/{name}', d, ff) for name in wi]
    for name in attentions:
      places += [(name, d, d), (f'{name}/o', inner, d), (f'{name}_norm', d, d)]
      places += [(f'{name}/{part}', d, inner) for part in 'qkv']
    out += [Site(f'{stack}/layers/{name}', i, o, depth) for name, i, o in places]
  return {site.path: site for site in out}
