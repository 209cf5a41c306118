"""One file per experiment; each says what differs from `base.py`."""
