"""Ends the processes of a run if the program that started them is gone, however it went: run as `python -m` of this module.

On standard input come lines: "+ID" for a process that leads a group of its own, "-ID" for one that has ended. The end of
the input means that the starter is gone: closed in good order with nothing left to do, or killed. What is left is then asked
to leave, in the order of its start (i-PI first: it writes its RESTART and tells the drivers), and killed if it does not.
The folders given as arguments are removed in the end. Standard library only: it must be light, and must not fail.
"""

import os
import shutil
import signal
import sys
import time

PATIENCE = 30.0  # seconds that the first process has to leave; the others get a tenth each


def alive(leader: int) -> bool:
    """Whether a process of this id is there."""
    try:
        os.kill(leader, 0)
    except OSError:
        return False
    return True


def send(leader: int, number: int, group: bool = False) -> None:
    """A signal to a process or to its group, if it is there."""
    try:
        (os.killpg if group else os.kill)(leader, number)
    except OSError:
        pass


def end(leaders: list[int], patience: float) -> None:
    """Asks each process to leave, waits, and kills what is left of its group."""
    for leader in leaders:
        send(leader, signal.SIGTERM)
        limit = time.monotonic() + patience
        while alive(leader) and time.monotonic() < limit:
            time.sleep(0.05)
        send(leader, signal.SIGKILL, group=True)
        patience = 0.1 * PATIENCE


def main() -> None:
    """Reads to the end of the input, then tidies up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    leaders = []
    for line in sys.stdin:
        leader = int(line[1:])
        if line[0] == "+":
            leaders.append(leader)
        elif leader in leaders:
            leaders.remove(leader)
    end(leaders, PATIENCE)
    for folder in sys.argv[1:]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
