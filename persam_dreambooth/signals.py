"""Ctrl-C and SIGTERM: once means at the next whole step, with everything saved; twice means at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""What asks a run to stop: Ctrl-C, and a cluster or `kill`."""


class Interrupted(BaseException):
    """A signal asked the run to stop; its text says where that stands. No library's `except` swallows it."""

    def __init__(self, signum: int, text: str) -> None:
        super().__init__(text)
        self.signum = signum


@dataclass
class Request:
    """Whether a signal came in, and which."""

    signum: int | None = None

    def interrupt(self, text: str) -> Interrupted:
        """Return what to raise for this request."""
        return Interrupted(self.signum, text)


@contextmanager
def interrupts() -> Iterator[None]:
    """Let a signal end the block with one line on standard error and exit code 128 + signal (130, 143).

    Files that are being written are removed on the way out; what is finished stays.

    Raises:
        SystemExit: with that code.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        _by_default()
        raise Interrupted(signum, "what is finished is kept. Run the same command again to go on.")

    try:
        with _handled_by(stop):
            yield
    except Interrupted as interrupted:
        sys.stderr.write(f"\nstopped by {_name(interrupted.signum)}: {interrupted}\n")
        sys.exit(128 + interrupted.signum)


@contextmanager
def held_back() -> Iterator[Request]:
    """Only note the first signal inside the block, for its owner to act on; a second one kills at once."""
    request = Request()

    def note(signum: int, frame: FrameType | None) -> None:
        request.signum = signum
        _by_default()
        # Not print: the signal may have come in the middle of one.
        os.write(2, f"\n{_name(signum)}: saving after this step; once more stops at once\n".encode())

    with _handled_by(note):
        yield request


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals by a function inside; those that the caller of the program ignores stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        # Python allows handlers in the main thread only.
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            # None: a handler that was not set from Python, and cannot be put back.
            signal.signal(number, signal.SIG_DFL if old is None else old)


def _by_default() -> None:
    """Let the next signal end the process at once, even inside a long computation."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _name(signum: int) -> str:
    """Return a signal's name, SIGTERM for 15."""
    return signal.Signals(signum).name
