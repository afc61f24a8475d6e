"""The first process of a training by several. Fabric starts the others with the same arguments.

Arguments: a pickled `Street`, the folder to train in, and the arguments of `helpers.training.run` as JSON.
"""

import json
import os
import pickle
import sys
from pathlib import Path

import torch

from helpers.training import run

if __name__ == "__main__":
    street, folder = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
    torch.set_num_threads(1)
    read = []
    model, _ = run(street, folder, read=read, **json.loads(sys.argv[3]))
    rank = int(os.environ.get("LOCAL_RANK", 0))
    (folder / f"read_{rank}.json").write_text(json.dumps(read))
    if rank == 0:
        torch.save(model.state_dict(), folder / "weights.pt")
