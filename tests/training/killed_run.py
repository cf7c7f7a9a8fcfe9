"""Run a tinyvq command in a process that is killed at a chosen file-system call.

`python -m training.killed_run AT COMMAND...`: kill -9 at the call number AT that changes
files (from 0); with AT = -1 nothing is killed, and the kinds of all calls are printed.
"""

import json
import sys

from training.faults import Fault, injected

from tinyvq.cli import main

if __name__ == "__main__":
    at = int(sys.argv[1])
    with injected(None if at < 0 else at, Fault.KILL) as faulty:
        status = main(sys.argv[2:])
    print(json.dumps([f"{call.kind} {call.path}" for call in faulty.calls]))
    sys.exit(status)
