"""What a supervision tree should do, in plain recursion without time: the oracle of the property.

An event is "+x" (x started), "!x" (x failed to start) or "-x" (x ended).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Restart = Literal["permanent", "transient", "temporary"]


@dataclass
class Leaf:
    """An actor."""

    name: str
    restart: Restart
    alive: bool = False
    instance: int = 0
    """How many times it has been made."""


@dataclass
class Branch:
    """A supervisor."""

    name: str
    restart: Restart
    intensity: int
    children: "list[Leaf | Branch]"
    alive: bool = False
    spent: list[float] = field(default_factory=list)

    def leaves(self) -> "Iterator[tuple[Leaf, tuple[Branch, ...]]]":
        """Yield every leaf with its supervisors, nearest first."""
        for child in self.children:
            if isinstance(child, Leaf):
                yield child, (self,)
            else:
                for leaf, above in child.leaves():
                    yield leaf, (*above, self)


class Oracle:
    """Predicts the events; `failures` says how often a leaf's next starts fail."""

    def __init__(self, root: Branch, period: float) -> None:
        self.root = root
        self.events: list[str] = []
        self.failures: dict[str, int] = {}
        self.now = 0.0
        self._period = period

    def start(self, branch: Branch) -> bool:
        """Start a branch; False if it gave up while starting."""
        branch.spent.clear()
        branch.alive = True
        for child in branch.children:
            child.alive = False
        return all(self._start_child(branch, child) for child in branch.children)

    def stop(self, branch: Branch) -> None:
        """Stop what is alive, in reverse order."""
        for child in reversed(branch.children):
            if child.alive and isinstance(child, Branch):
                self.stop(child)
            elif child.alive:
                self.events.append(f"-{child.name}")
                child.alive = False
        branch.alive = False

    def end(self, leaf: Leaf, above: tuple[Branch, ...], *, crashed: bool) -> bool:
        """End a leaf and follow what it sets off; False if the whole tree gave up."""
        self.events.append(f"-{leaf.name}")
        leaf.alive = False
        ended: Leaf | Branch = leaf
        for branch in above:
            if self._after(branch, ended, crashed=crashed):
                return True
            ended, crashed = branch, True
        return False

    def _start_child(self, branch: Branch, child: Leaf | Branch) -> bool:
        """Start a child, again and again if need be; False if its supervisor gave up."""
        child.alive = self.start(child) if isinstance(child, Branch) else self._start_leaf(child)
        return child.alive or self._after(branch, child, crashed=True)

    def _start_leaf(self, leaf: Leaf) -> bool:
        leaf.instance += 1
        left = self.failures.get(leaf.name, 0)
        self.failures[leaf.name] = max(0, left - 1)
        self.events += [f"!{leaf.name}", f"-{leaf.name}"] if left else [f"+{leaf.name}"]
        return not left

    def _after(self, branch: Branch, child: Leaf | Branch, *, crashed: bool) -> bool:
        """Restart an ended child, let it go, or give up (False)."""
        if child.restart == "temporary" or (child.restart == "transient" and not crashed):
            return True
        branch.spent = [then for then in branch.spent if then > self.now - self._period]
        if len(branch.spent) >= branch.intensity:
            self.stop(branch)
            return False
        branch.spent.append(self.now)
        return self._start_child(branch, child)
