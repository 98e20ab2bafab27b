"""A program that knows nothing of Lockstead and locks a file.

    foreign.py LIBRARY PATH [exclusive|shared] [SECONDS]

It says `waiting`, then `holding`, lets go at SIGUSR1, and says `released`. If it does not get the lock within SECONDS it
says `refused`. The libraries are used as their documentation shows.
"""

import os
import signal
import sys

library, path = sys.argv[1:3]
mode = sys.argv[3] if len(sys.argv) > 3 else "exclusive"
seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 60.0

# Before any thread may take the signal.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


def say(word):
    print(word, flush=True)


def hold(token=""):
    say(f"holding {token}".strip())
    signal.sigwait({signal.SIGUSR1})


def portalocker_flags():
    import portalocker

    kind = portalocker.LOCK_SH if mode == "shared" else portalocker.LOCK_EX
    return kind | portalocker.LOCK_NB


def portalocker_lock():
    import portalocker

    with portalocker.Lock(path, timeout=seconds, flags=portalocker_flags()):
        hold()


def portalocker_rlock():
    import portalocker

    lock = portalocker.RLock(path, timeout=seconds)
    with lock, lock:
        hold()


def portalocker_temporary():
    import portalocker

    with portalocker.TemporaryFileLock(path, timeout=seconds, fail_when_locked=False):
        hold()


def portalocker_pid():
    import portalocker

    # Its lock is on PATH.lock.
    with portalocker.PidFileLock(path, timeout=seconds, fail_when_locked=False).fail_closed():
        hold()


def portalocker_semaphore():
    """PATH is DIRECTORY/NAME/MAXIMUM."""
    import portalocker

    rest, maximum = os.path.split(path)
    directory, name = os.path.split(rest)
    semaphore = portalocker.BoundedSemaphore(
        int(maximum), name=name, directory=directory, timeout=seconds, fail_when_locked=True
    )
    with semaphore:
        hold(os.path.basename(semaphore.lock.filename))


def filelock_lock():
    import filelock

    with filelock.FileLock(path, timeout=seconds):
        hold()


def fasteners_lock():
    import fasteners

    lock = fasteners.InterProcessLock(path)
    if not lock.acquire(timeout=seconds):
        raise TimeoutError
    hold()
    lock.release()


def fasteners_reader_writer():
    import fasteners

    lock = fasteners.InterProcessReaderWriterLock(path)
    acquire, release = (
        (lock.acquire_read_lock, lock.release_read_lock)
        if mode == "shared"
        else (lock.acquire_write_lock, lock.release_write_lock)
    )
    if not acquire(timeout=seconds):
        raise TimeoutError
    hold()
    release()


def lockf():
    import fcntl
    import time

    deadline = time.monotonic() + seconds
    with open(path, "a+") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_NB | (fcntl.LOCK_SH if mode == "shared" else fcntl.LOCK_EX))
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.05)
        hold()


def refusals():
    import filelock
    import portalocker

    return TimeoutError, filelock.Timeout, portalocker.AlreadyLocked


say("waiting")
try:
    globals()[library]()
    say("released")
except refusals():
    say("refused")
