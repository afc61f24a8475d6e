"""One of several runs of the frames stage. It decodes slowly, and logs every clip that it decodes.

Arguments: a manifest, the root of the store, the log, and how many such runs must be at work before any of
them makes an entry, so that none is late on a busy machine. The run says that it is ready, and begins at a
line or the end of its input. A sixth argument lets leases expire within two seconds. Other than "here", it
names a clone of this machine, on which the run believes to be.
"""

import os
import sys
import time
from pathlib import Path

from weclick.datasets import frames
from weclick.manifest import read_manifest
from weclick.manifest.read import read_clip
from weclick.store import Store
from weclick.store.leases import heart, holder, leases, rounds

FRAME_S = 0.01
THREADS = 2


def runs_at_work():
    return len({line.split()[-1] for line in Path(sys.argv[3]).read_text(encoding="utf-8").splitlines()})


def slowly(manifest, clip):
    with Path(sys.argv[3]).open("a", encoding="utf-8") as log:
        log.write(f"{clip.id} {os.getpid()}\n")
    while runs_at_work() < int(sys.argv[4]):
        time.sleep(FRAME_S)
    for image in read_clip(manifest, clip):
        time.sleep(FRAME_S)
        yield image


if __name__ == "__main__":
    frames.read_clip = slowly
    os.cpu_count = lambda: THREADS
    if sys.argv[5:]:
        heart.BEAT_S, leases.EXPIRY_S, leases.UNSIGNED_S, rounds.POLL_S = 0.2, 2.0, 1.0, 0.1
    if sys.argv[5:] not in ([], ["here"]):
        holder._machine = lambda: sys.argv[5]
    print("ready", flush=True)
    sys.stdin.readline()
    made = frames.pack_frames(read_manifest(Path(sys.argv[1])), chunk_px=16, store=Store([sys.argv[2]]))
    print(*sorted(made.values()))
