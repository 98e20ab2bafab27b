"""Takes a portalocker.RedisLock: `MODE PORT [SECONDS]`.

patient, impatient: one of a crowd. Says that it has started, waits for a line, and takes the lock once for 10 ms. The impatient
one waits for as long as the library does unless told otherwise.
pairs: takes and releases a lock that nobody else wants, again and again. Says pairs a second, and their median and 99th percentile
in microseconds, as JSON.
"""

import json
import sys
import time

import portalocker
import redis

mode, port = sys.argv[1], int(sys.argv[2])


def lock(name, **options):
    connection = redis.Redis(port=port, health_check_interval=10)
    return portalocker.RedisLock(name, connection=connection, **options)


if mode == "pairs":
    taken, until = [], time.monotonic() + float(sys.argv[3])
    mine = lock("compare/pair")
    while (start := time.monotonic()) < until:
        mine.acquire()
        mine.release()
        taken.append((time.monotonic() - start) * 1e6)
    taken.sort()
    print(json.dumps([len(taken) / float(sys.argv[3]), taken[len(taken) // 2], taken[len(taken) * 99 // 100]]))
else:
    mine = lock("compare/crowd", **({"timeout": 120} if mode == "patient" else {}))
    print("ready", flush=True)
    sys.stdin.readline()
    mine.acquire()
    time.sleep(0.01)
    mine.release()
