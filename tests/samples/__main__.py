"""The program of the repository, in a project of its own."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[2] / "__main__.py"))
