"""`python -m persam_dreambooth` is the command `persam-dreambooth`."""

from persam_dreambooth.cli import main

if __name__ == "__main__":
    main()
