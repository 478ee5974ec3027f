"""Who the subject is, photo by photo."""
