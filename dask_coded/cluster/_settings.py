"""Settings of the runtime, from Dask's configuration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import yaml
from dask.utils import parse_timedelta

from dask_coded.cluster._policy import Patience
from dask_coded.cluster._suspects import Suspicion

__all__ = ["Settings", "slice_seconds"]

_FILE = Path(__file__).parent.parent / "coded.yaml"
_DEFAULTS: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))

dask.config.ensure_file(source=str(_FILE))
dask.config.update_defaults(_DEFAULTS)


def _setting(name: str) -> Any:
    # A configuration that was replaced as a whole, as test suites do, knows nothing of us.
    return dask.config.get(name, default=dask.config.get(name, config=_DEFAULTS))


def _seconds(name: str) -> float:
    return float(parse_timedelta(_setting(name), default="s"))


def slice_seconds() -> float:
    """How long a product task may go on before it looks at its own state."""
    return _seconds("coded.slice")


@dataclass(frozen=True)
class Settings:
    """What the scheduler plugin needs to know; picklable, bound where the plugin is made."""

    patience: Patience = field(default_factory=Patience)
    suspicion: Suspicion = field(default_factory=Suspicion)
    slow_memory: float = 30.0
    history: int = 1000

    @classmethod
    def from_config(cls) -> "Settings":
        """Settings as ``coded.*`` of Dask's configuration says now."""
        return cls(
            patience=Patience(
                factor=float(_setting("coded.patience.factor")),
                slow_factor=float(_setting("coded.patience.slow-factor")),
                minimum=_seconds("coded.patience.minimum"),
                evict_after=_seconds("coded.evict-after"),
                rebuild_after=_seconds("coded.rebuild-after"),
            ),
            suspicion=Suspicion(
                factor=float(_setting("coded.suspicion.factor")),
                minimum=_seconds("coded.suspicion.minimum"),
            ),
            slow_memory=_seconds("coded.slow-memory"),
            history=int(_setting("coded.history")),
        )
