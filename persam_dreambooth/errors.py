"""The one class of error that the person at the keyboard can put right, and how it is shown."""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something that the person who started the command can fix.

    The text is one line: `<flag or file>: <what is wrong, with the value>; <what is needed>. <what to do>`.
    """


def one_line(text: object) -> str:
    """Return the text with every run of white space, line breaks included, as one blank."""
    return " ".join(str(text).split())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean <nearest>?`, or an empty string where nothing known is close to the name."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]}?" if nearest else ""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn a UserError raised inside into one line on standard error and exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
