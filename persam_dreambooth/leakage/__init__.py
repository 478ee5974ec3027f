"""Stage 5: how much of the photos' background leaked into generated pictures, and a report that shows it."""
