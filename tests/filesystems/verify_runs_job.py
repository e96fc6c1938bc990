"""Check runs as `ranklog verify` does: ``RUN…``. The exit status is 1 if one is damaged."""

import sys
from pathlib import Path

from ranklog.view.verify import verify_run

problems = [f"{run}: {problem}" for run in sys.argv[1:] for problem in verify_run(Path(run)).problems]
print(*problems, sep="\n")
sys.exit(bool(problems))
