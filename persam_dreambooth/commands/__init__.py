"""The commands of `persam-dreambooth`, one function each; cli.py registers them."""
