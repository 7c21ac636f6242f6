"""Which copies of a share at rest may be dropped: not the one on its own worker.

While parity is being made, each share of an encoded matrix has a copy wherever parity is made of
it. Dask's memory manager drops what is more than those copies, and that is the share at home: then
a few workers hold everything, and are all that a product runs on.
"""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from dask.typing import Key
from distributed.active_memory_manager import (
    ActiveMemoryManagerPolicy,
    ReduceReplicas,
    Suggestion,
)

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, WorkerState

__all__ = ["HomePolicy", "keep_at_home"]


class HomePolicy(ActiveMemoryManagerPolicy):  # type: ignore[misc]
    """What another policy suggests, but nothing that is at home is dropped there.

    Parameters
    ----------
    policy
        The other policy, known to the same manager.
    home
        Address of the worker where a result belongs; None for most.
    """

    def __init__(
        self, policy: ActiveMemoryManagerPolicy, home: Callable[[Key], str | None]
    ) -> None:
        self.policy = policy
        self.home = home

    def run(self) -> "Generator[Suggestion, WorkerState | None, None]":
        """Suggestions, as the manager takes them."""
        suggestions = self.policy.run()
        answer = None
        while True:
            try:
                suggestion = Suggestion(*suggestions.send(answer))
            except StopIteration:
                return
            home = self.home(suggestion.ts.key) if suggestion.op == "drop" else None
            if home is not None:
                among = suggestion.candidates or suggestion.ts.who_has or ()
                away = {ws for ws in among if ws.address != home}
                suggestion = Suggestion(suggestion.op, suggestion.ts, away)
            answer = yield suggestion


def keep_at_home(
    scheduler: "Scheduler", home: Callable[[Key], str | None]
) -> Callable[[], None] | None:
    """Put a :class:`HomePolicy` before whatever reduces copies; returns what undoes it.

    None where the scheduler has no memory manager.
    """
    manager: Any = scheduler.extensions.get("amm")
    if manager is None:
        return None
    replaced = {}
    for policy in [policy for policy in manager.policies if isinstance(policy, ReduceReplicas)]:
        replaced[policy] = HomePolicy(policy, home)
        manager.policies.remove(policy)
        manager.add_policy(replaced[policy])

    def undo() -> None:
        for policy, ours in replaced.items():
            if ours in manager.policies:
                manager.policies.remove(ours)
                manager.policies.add(policy)

    return undo
