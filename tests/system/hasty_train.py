"""`train.py` whose workers wait for each other as long as a test says, not as long as users' do.

Takes JSON, then the flags: seconds of cluster/workers.py and cluster/lookout.py by name. `halt`
names a method that the worker of a rank does not get beyond: it says so, and sleeps.
"""

import json
import os
import sys
import time

import train
from console import commands, importing


def halt(*_):
    """Stays here, and says so once the others have surely got as far as they can."""
    time.sleep(4)
    print("halted", file=sys.stderr, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    importing.import_tensorflow()
    from cluster import lookout, workers

    options = json.loads(sys.argv.pop(1))
    method, rank = options.pop("halt", (None, None))
    if method and json.loads(os.environ["TF_CONFIG"])["task"]["index"] == rank:
        assert hasattr(workers.OneOfSeveral, method), method
        setattr(workers.OneOfSeveral, method, halt)
    for name, seconds in options.items():
        modules = [module for module in (workers, lookout) if hasattr(module, name)]
        assert modules, name
        for module in modules:
            setattr(module, name, seconds)
    commands.run(train.main)
