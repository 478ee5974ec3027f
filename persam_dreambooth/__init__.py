"""DreamBooth that learns the subject and not the sofa behind it: PerSAM-F masks in the training loss."""

__version__ = "0.1.0"
