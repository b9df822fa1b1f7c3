"""Where the checkout keeps what commands need and the package does not hold."""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[3]

CONFIGS = _CHECKOUT / "configs"
TRAIN_NET = _CHECKOUT / "train_net.py"
TABLES = CONFIGS / "tables"
TOOLS = _CHECKOUT / "tools"
