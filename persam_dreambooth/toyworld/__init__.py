"""A small drawn world whose truth is known, and the tiny models trained on it: the embedded default."""
