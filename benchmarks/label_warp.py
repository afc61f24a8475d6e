"""How far do flows carry labels on CamVid? `weclick flow-bench` with what CamVid needs.

It uses the validation clip (SegNet layout, 101 frames at 15 Hz, 11 classes, void 11).
`weclick flow-bench --help` explains the figures; use that verb for other frames. More estimators:

    python benchmarks/label_warp.py --estimator dis --estimator "raft:model=large,weights=raft_large.pth"
"""

import sys
from pathlib import Path

from weclick.cli import main

HERE = Path(__file__).resolve().parent
CAMVID = HERE.parents[1] / "shared" / "data" / "camvid"
DEFAULTS = {
    "--frames": CAMVID / "val",
    "--labels": CAMVID / "valannot",
    "--classes": 11,
    "--ignore": 11,
    "--device": "cpu",
    "--output": HERE / "results" / "label_warp_camvid_val.json",
}

if __name__ == "__main__":
    given = sys.argv[1:]
    if "--frames" in given and "--output" not in given:
        raise SystemExit("the default --output is for CamVid: use `weclick flow-bench`, or give another one")
    set_here = (
        word for option in DEFAULTS if option not in given for word in (option, str(DEFAULTS[option]))
    )
    sys.argv = ["weclick", "flow-bench", *set_here, *given]
    main()
