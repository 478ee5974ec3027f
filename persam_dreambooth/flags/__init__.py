"""Command lines: read as diffusers reads them, refused with a reason, written down as a page."""
