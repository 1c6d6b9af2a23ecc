"""The files were touched: what they say now, whether it can be applied, and what is different.

An edit with a new error is not applied: what serves is what was good last. An error that was there
when `run` started (a Secret that is missing, say) does not stand in the way of other edits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from runestone_operator.cli.failure import CommandError
from runestone_operator.cli.load import Loaded, load
from runestone_operator.cli.report import Place, Problem, errors_of, problem_lines
from runestone_operator.cli.source.files import FileSource, Stamps
from runestone_operator.cli.source.world import SECRET, Ref, World
from runestone_operator.cli.state import StateDir

_ATTEMPTS: Final = 20


@dataclass(frozen=True, slots=True)
class Refused:
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    loaded: Loaded
    changes: tuple[str, ...]
    warnings: tuple[str, ...]  # that were not there before


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing that matters; `is_mended` when the files were broken the last time."""

    is_mended: bool


Outcome = Refused | Changed | Unchanged


@dataclass(slots=True)
class Reloader:
    source: FileSource
    namespace: str
    state: StateDir
    current: Loaded
    _known: set[tuple[str, str, str]] = field(default_factory=set)  # problems by identity
    _refused: tuple[str, ...] = ()
    _stamps: Stamps | None = None  # of the files that were looked at last

    def __post_init__(self) -> None:
        self._known = {problem.identity for problem in self.current.problems}

    def look(self) -> Outcome | None:
        """None: nothing was touched, or it is as broken as it was the last time."""
        try:
            if self.source.stamps() == self._stamps:
                return None
            loaded = self._load_whole()
        except CommandError as error:
            return self._refuse((error.message,))
        problems = [*loaded.problems, *nothing_to_serve(loaded, self.source.paths)]
        new = [problem for problem in problems if problem.identity not in self._known]
        if errors := [*errors_of(new), *loaded.unreadable]:
            return self._refuse(tuple(problem_lines([*dict.fromkeys(errors)])))
        was_refused, self._refused = bool(self._refused), ()
        before, self.current = self.current, loaded
        self._known = {problem.identity for problem in problems}
        if is_same(before, loaded):
            return Unchanged(is_mended=was_refused)
        changes = tuple(differences(before.world, loaded.world))
        return Changed(loaded, changes, warnings=tuple(problem_lines(new)))

    def _refuse(self, lines: tuple[str, ...]) -> Refused | None:
        if lines == self._refused:
            return None
        self._refused = lines
        return Refused(lines)

    def _load_whole(self) -> Loaded:
        """Read again while somebody writes."""
        for _ in range(_ATTEMPTS):
            self._stamps = self.source.stamps()
            loaded = load(self.source, self.namespace, self.state)
            if self.source.stamps() == self._stamps:
                break
        return loaded


def nothing_to_serve(loaded: Loaded, paths: Sequence[str]) -> list[Problem]:
    place = Place(", ".join(paths) or "environment")
    namespace = loaded.build.namespace
    if not loaded.build.compiled.config.pools:
        return [Problem(place, f"no ProviderPool in namespace {namespace}: nothing to serve")]
    if not loaded.build.client_keys:
        message = f"no ApiKey in namespace {namespace} lets anybody in: nobody could call"
        return [Problem(place, message)]
    return []


def is_same(one: Loaded, other: Loaded) -> bool:
    return (
        one.build.config_files == other.build.config_files
        and one.build.credential_files == other.build.credential_files
    )


def differences(before: World, after: World) -> Iterable[str]:
    """Names alone: values may be secret."""
    old, new = _contents(before), _contents(after)
    for ref in {**old, **new}:
        if ref not in old:
            yield f"{ref} added"
        elif ref not in new:
            yield f"{ref} removed"
        elif old[ref] != new[ref]:
            yield f"{ref} changed"


def _contents(world: World) -> dict[Ref, object]:
    resources: dict[Ref, object] = {
        ref: found.document.node.plain() for ref, found in world.resources.items()
    }
    secrets = {Ref(SECRET, *place): values for place, values in world.secrets.items()}
    return resources | secrets
