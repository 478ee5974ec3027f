"""Signals: a word and the shell's exit code; held back inside the steps; a second one is not held back."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from persam_dreambooth import signals

ROOT = Path(__file__).parent.parent


def stopped_by(run) -> int:
    """The exit code with which a signal ends a function."""
    with pytest.raises(SystemExit) as stopped, signals.interrupts():
        run()
    return stopped.value.code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_a_word_and_the_shells_code(capsys, number, code):
    cleaned = []

    def run() -> None:
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(True)

    assert stopped_by(run) == code
    assert cleaned
    said = capsys.readouterr().err
    assert f"stopped by {number.name}: what is finished is kept. Run the same command" in said
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", signals.STOPPING)
def test_a_signal_is_held_back_until_its_owner_acts(capfd, number):
    reached = []

    def run() -> None:
        with signals.held_back() as request:
            assert request.signum is None
            signal.raise_signal(number)
            reached.append("the end of the step")
        assert request.signum == number
        raise request.interrupt("checkpoint-3 is saved")

    assert stopped_by(run) == 128 + number
    assert reached
    said = capfd.readouterr().err
    assert f"{number.name}: saving after this step; once more stops at once" in said
    assert f"stopped by {number.name}: checkpoint-3 is saved" in said


def test_after_the_first_signal_the_next_one_kills():
    with signals.held_back():
        signal.raise_signal(signal.SIGTERM)
        assert {signal.getsignal(number) for number in signals.STOPPING} == {signal.SIG_DFL}
    program = (
        "import signal\nfrom persam_dreambooth import signals\n"
        "with signals.interrupts(), signals.held_back():\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    print('alive')\n"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, check=False, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")


def test_what_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.interrupts(), signals.held_back() as request:
            signal.raise_signal(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert request.signum == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_than_the_main_one_installs_nothing():
    seen = []

    def work() -> None:
        with signals.interrupts(), signals.held_back() as request:
            seen.append(request.signum)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]


def test_no_library_swallows_it():
    assert not issubclass(signals.Interrupted, Exception)
