"""Where the tests find the repository and, beside it, the real data that some of them need."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "bundles" / "tcseg" / "configs"
SHARED = ROOT.parent / "shared"
REAL = SHARED / "data"
