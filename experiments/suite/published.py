"""What the paper has otherwise for single tasks than for all (section 4.1 and appendix A).

Its settings for SuperGLUE are recalled from the publication, not read again.
"""

from types import MappingProxyType

SMALL = MappingProxyType({'epochs': 20.0})
SUPERGLUE = MappingProxyType({'batch_size': 32, 'data.max_source': 256})

# By task, in the dotted names of a config.
PUBLISHED = MappingProxyType(
  {name: SMALL for name in ('cola', 'mrpc', 'stsb', 'rte')}
  | {name: {**SUPERGLUE, **SMALL} for name in ('boolq', 'cb', 'copa', 'wic')}
  | {name: SUPERGLUE for name in ('multirc', 'wsc')}
)
