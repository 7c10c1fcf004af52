"""`train.py` whose workers wait for each other as long as a test says, not as long as users' do.

Takes seconds of cluster/workers.py by name, as JSON, then the flags.
"""

import json
import sys

import train
from console import commands, importing

if __name__ == "__main__":
    importing.import_tensorflow()
    from cluster import workers

    for name, seconds in json.loads(sys.argv.pop(1)).items():
        assert hasattr(workers, name), name
        setattr(workers, name, seconds)
    commands.run(train.main)
