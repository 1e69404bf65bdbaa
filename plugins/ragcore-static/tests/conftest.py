from __future__ import annotations

import sys
from pathlib import Path

# Tests are imported by file, so that the folder is not on the path by itself.
sys.path.insert(0, str(Path(__file__).parent))
