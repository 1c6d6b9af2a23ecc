"""Tells of a replaced key, and those pods that go on with the old one until they are started anew.

A pod that reads the key from a mounted Secret finds the new one by itself; what it got into its
environment stays as it was.
"""

from collections.abc import Iterator
from typing import Final

from runestone_operator.api.resource import ApiKey
from runestone_operator.api.scalars import Timestamp
from runestone_operator.collect.history import KeyHistory, retired_hashes
from runestone_operator.collect.inputs import history_of
from runestone_operator.collect.views import PodView, View
from runestone_operator.compiler.inputs import key_secret
from runestone_operator.kinds import KEY
from runestone_operator.publish.events import Notice, post_event
from runestone_operator.publish.parallel import for_each
from runestone_operator.reconcile.state import World

SHOWN: Final = 5  # names of pods: an Event's note is short


class RotationNotices:
    def __init__(self, world: World) -> None:
        self._world = world
        self._told: dict[str, dict[str, int]] = {}  # namespace -> uid of the ApiKey -> when

    async def tell(self, namespace: str) -> None:
        """Of each rotation once; after a restart again, and then the API server has it already."""
        told = self._told.pop(namespace, {})
        notices: list[tuple[View, Notice]] = []
        for view, secret, history in self._replaced(namespace):
            if told.get(view.uid) != history.made_at_s:
                notices += self._notices(view, secret, history)
            self._told.setdefault(namespace, {})[view.uid] = history.made_at_s
        await for_each(notices, lambda each: post_event(self._world.kube, *each))

    def _replaced(self, namespace: str) -> Iterator[tuple[View, str, KeyHistory]]:
        """Those of whose keys an earlier one still works."""
        now_s = self._world.now_s()
        for view in self._world.cache.resources(KEY, namespace):
            key = view.resource
            history = history_of(key, self._world.cache) if isinstance(key, ApiKey) else None
            if isinstance(key, ApiKey) and history and list(retired_hashes(history, now_s)):
                yield view, key_secret(key).name, history

    def _notices(
        self, view: View, secret: str, history: KeyHistory
    ) -> Iterator[tuple[View, Notice]]:
        running = self._world.cache.running_pods(view.namespace)
        pods = [pod for pod in running if _holds_old(pod, secret, history)]
        yield view, _notice_of_key(secret, history, pods)
        for pod in pods:
            yield pod, _notice_of_pod(secret, history)


def _holds_old(pod: PodView, secret: str, history: KeyHistory) -> bool:
    return secret in pod.env_secrets and pod.created_s <= history.made_at_s


def _notice_of_key(secret: str, history: KeyHistory, pods: list[PodView]) -> Notice:
    names = sorted(pod.name for pod in pods)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = ", ".join(names[:SHOWN]) + more
    tail = f"; to be restarted before, for they hold it in their environment: {shown}"
    note = f"Secret {secret} holds a new key; the one before works until {_end(history)}"
    return _notice(history, note + (tail if names else ""))


def _notice_of_pod(secret: str, history: KeyHistory) -> Notice:
    note = (
        f"the key of Secret {secret} was replaced, and this pod holds the old one in its"
        f" environment: it works until {_end(history)}; restart the pod before"
    )
    return _notice(history, note, is_warning=True)


def _notice(history: KeyHistory, note: str, *, is_warning: bool = False) -> Notice:
    at = Timestamp.of_epoch_s(history.made_at_s)
    return Notice(("KeyRotated", at), at, "Rotate", "KeyRotated", note, is_warning)


def _end(history: KeyHistory) -> Timestamp:
    """Of the newest: the one before lasts longest, whatever was before that."""
    return Timestamp.of_epoch_s(history.retired[0].until_s)
