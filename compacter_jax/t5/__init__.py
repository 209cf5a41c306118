"""T5 and its family: configs, network, decoding, files."""
