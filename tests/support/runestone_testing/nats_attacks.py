"""What somebody who was let in to one account of NATS can try to get at another: the list.

Each attack tells whether it got through as far as its author can see; what it did to the victim the
victim knows. All but those on the server itself get through within the victim's own account: so the
list is known to be one of attacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runestone_operator.nats.limits import AccountLimits
from runestone_operator.nats.nkeys import KeyPair, Role
from runestone_operator.nats.trust import Home, Trust
from runestone_testing.nats_victim import (
    CANARY,
    JOB,
    OWNER,
    REPLY,
    Victim,
    asked,
    holds_canary,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.msg import Msg

    from runestone_testing.nats_accounts import Guest

API = "$JS.API"
OWN = "runestone.attacker"  # what one with that namespace may say


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    run: Callable[[Guest, Victim], Awaitable[object]]
    gets_through_inside: bool = True  # where there is no wall between the two


def _subjects(victim: Victim) -> dict[str, str]:
    names = victim.names
    return {
        "work": names.work(OWNER),
        "record": names.record(OWNER, JOB),
        "wake": names.wake,
        "ledger": victim.key,
        "root": f"runestone.{victim.namespace}.>",
        "bucket": f"$KV.{victim.bucket}.>",
        "all": ">",
        "inbox": "_INBOX.>",
        "acks": "$JS.ACK.>",
        "advisories": "$JS.EVENT.>",
        "api": "$JS.API.>",
    }


def _hear(what: str, *, queue: str = "") -> Attack:
    async def run(client: Guest, victim: Victim) -> bool:
        heard: list[str] = []

        async def on_message(message: Msg) -> None:
            heard.append(message.data.decode(errors="replace"))

        listening = await client.subscribe(_subjects(victim)[what], queue=queue, cb=on_message)
        await client.flush()
        await victim.stir()
        if what in ("acks", "advisories", "api"):
            await asked(victim.client, f"{API}.STREAM.INFO.none", {"subjects_filter": CANARY})
            delivery = await victim.client.request(
                f"{API}.CONSUMER.MSG.NEXT.{victim.names.queue}.w", b"", old_style=True, timeout=5
            )
            await victim.client.publish(delivery.reply, b"-NAK")
            await victim.rest()
        await client.flush()
        got = await until(lambda: _true(heard), 0.05) and any(
            CANARY in text or victim.names.queue in text or text == "-NAK" for text in heard
        )
        await listening.unsubscribe()
        return got

    return Attack(f"hear-{what}{'-in-a-queue' if queue else ''}", run)


async def _true(value: object) -> bool:
    return bool(value)


def _say(what: str) -> Attack:
    async def run(client: Guest, victim: Victim) -> object:
        return await asked(client, _subjects(victim)[what], b"forged")

    return Attack(f"publish-{what}", run)


def _call(verb: str, body: Any = None) -> Attack:
    """A call of JetStream's that names one of the victim's streams."""

    async def run(client: Guest, victim: Victim) -> object:
        names = victim.names
        called = verb.format(
            queue=names.queue, records=names.records, record=names.record(OWNER, JOB)
        )
        said = body(victim) if callable(body) else body
        return await asked(client, f"{API}.{called}", said)

    return Attack(verb.partition("{")[0].strip(".").lower().replace(".", "-"), run)


def _named(verb: str) -> Attack:
    async def run(client: Guest, victim: Victim) -> bool:
        return victim.names.queue in str(await asked(client, f"{API}.{verb}"))

    return Attack(verb.lower().replace(".", "-"), run)


def _pull_in(
    name: str, config: Callable[[Victim], dict[str, Any]], *, gets_through_inside: bool = True
) -> Attack:
    """A stream of one's own that takes in the victim's messages."""

    async def run(client: Guest, victim: Victim) -> bool:
        own = f"own-{name}"
        stream = {"name": own, "storage": "file", **config(victim)}
        await asked(client, f"{API}.STREAM.CREATE.{own}", stream)
        await victim.stir()

        async def has_some() -> bool:
            for subject in (victim.names.record(OWNER, JOB), victim.names.wake, REPLY):
                last = {"last_by_subj": subject}
                if holds_canary(await asked(client, f"{API}.STREAM.MSG.GET.{own}", last)):
                    return True
            return False

        got = await until(has_some)
        await asked(client, f"{API}.STREAM.DELETE.{own}")
        return got

    return Attack(name, run, gets_through_inside)


def _push_out(
    name: str, config: Callable[[str], dict[str, Any]], *, consumer: bool = False
) -> Attack:
    """A stream or consumer of one's own that sends into the victim's queue."""

    async def run(client: Guest, victim: Victim) -> bool:
        own, more = f"own-{name}", config(victim.names.work(OWNER))
        stream = {"name": own, "subjects": [f"{OWN}.{name}"], "storage": "file"}
        if not consumer:
            stream |= more
        await asked(client, f"{API}.STREAM.CREATE.{own}", stream)
        if consumer:
            body = {"stream_name": own, "config": {"durable_name": "out"} | more}
            await asked(client, f"{API}.CONSUMER.DURABLE.CREATE.{own}.out", body)
        await asked(client, f"{OWN}.{name}", b"forged")

        async def arrived() -> bool:
            await victim.look()
            return victim.touched

        got = await until(arrived)
        await asked(client, f"{API}.STREAM.DELETE.{own}")
        return got

    return Attack(name, run)


def _store(name: str, use: Callable[[Any, Victim], Awaitable[object]]) -> Attack:
    """By the client's own classes for buckets."""

    async def run(client: Guest, victim: Victim) -> object:
        try:
            return await use(client.jetstream(timeout=1), victim)
        except Exception:  # it has many ways to say no
            return None

    return Attack(name, run)


async def _kv_get(js: Any, victim: Victim) -> bool:
    bucket = await js.key_value(victim.bucket)
    return holds_canary((await bucket.get("shop/app")).value.decode())


async def _kv_put(js: Any, victim: Victim) -> bool:
    bucket = await js.key_value(victim.bucket)
    return bool(await bucket.put("shop/app", b"forged"))


async def _object_list(js: Any, victim: Victim) -> bool:
    return victim.names.queue in str(await js.streams_info())


def _system(subject: str, body: Any = None) -> Attack:
    """A request to the server itself."""

    async def run(client: Guest, victim: Victim) -> bool:
        said = body(victim) if callable(body) else body
        answer = await asked(client, subject.format(account=victim.account), said)
        return answer is not None and (
            victim.account in str(answer) or answer.get("initiated", False) or "CLAIMS" in subject
        )

    return Attack(subject.replace("{account}", "other").lower(), run, gets_through_inside=False)


def _old(victim: Victim) -> dict[str, str]:
    return {"last_by_subj": victim.names.record(OWNER, JOB)}


def _consumer(name: str, **config: Any) -> Callable[[Victim], dict[str, Any]]:
    def body(victim: Victim) -> dict[str, Any]:
        wanted = {"durable_name": name, "ack_policy": "explicit", **config}
        return {"stream_name": victim.names.queue, "config": wanted, "action": ""}

    return body


def _external(victim: Victim) -> dict[str, Any]:
    return {
        "name": victim.names.records,
        "external": {"api": "$JS.other.API", "deliver": "runestone.attacker.delivered"},
    }


_STRANGER = Trust(KeyPair.generate(Role.OPERATOR))


def _forged_account(victim: Victim) -> bytes:
    """That would let in somebody else."""
    user = KeyPair.generate(Role.USER).public
    claims = _STRANGER.account_claims(Home(victim.namespace, "?"), user, AccountLimits())
    return _STRANGER.sign_account(claims | {"sub": victim.account}, issued_at_s=9).encode()


CALLS = (
    _call("STREAM.INFO.{queue}", {"subjects_filter": ">"}),
    _call("STREAM.MSG.GET.{records}", _old),
    _call("DIRECT.GET.{records}", _old),
    _call("DIRECT.GET.{records}.{record}"),
    _call("CONSUMER.INFO.{queue}.w"),
    _call("CONSUMER.LIST.{queue}"),
    _call("CONSUMER.NAMES.{queue}"),
    _call("CONSUMER.MSG.NEXT.{queue}.w", {"batch": 1}),
    _call("CONSUMER.PAUSE.{queue}.w", {"pause_until": "2099-01-01T00:00:00Z"}),
    _call("CONSUMER.RESET.{queue}.w"),
    _call(
        "CONSUMER.DURABLE.CREATE.{records}.spy",
        lambda v: {
            "stream_name": v.names.records,
            "config": {"durable_name": "spy", "ack_policy": "none"},
        },
    ),
    _call(
        "CONSUMER.CREATE.{records}",
        lambda v: {
            "stream_name": v.names.records,
            "config": {"deliver_subject": "runestone.attacker.out"},
        },
    ),
    _call("STREAM.SNAPSHOT.{records}", {"deliver_subject": "runestone.attacker.snapshot"}),
    _call(
        "STREAM.UPDATE.{records}",
        lambda v: {
            "name": v.names.records,
            "subjects": v.names.kept,
            "storage": "file",
            "max_msgs": 1,
            "allow_direct": True,
        },
    ),
    _call("CONSUMER.DELETE.{queue}.w"),
    _call("STREAM.MSG.DELETE.{records}", {"seq": 1}),
    _call("STREAM.PURGE.{records}"),
    _call("STREAM.DELETE.{queue}"),
)
PULLS = (
    _pull_in("mirror", lambda v: {"mirror": {"name": v.names.records}}),
    _pull_in("source", lambda v: {"sources": [{"name": v.names.records}]}),
    _pull_in("mirror-external", lambda v: {"mirror": _external(v)}, gets_through_inside=False),
    _pull_in("source-external", lambda v: {"sources": [_external(v)]}, gets_through_inside=False),
    _pull_in("capture-wake", lambda v: {"subjects": [v.names.wake]}),
    _pull_in("capture-inboxes", lambda _: {"subjects": ["_INBOX.>"], "no_ack": True}),
)
PUSHES = (
    _push_out("republish", lambda into: {"republish": {"src": f"{OWN}.republish", "dest": into}}),
    _push_out(
        "deliver-to", lambda into: {"deliver_subject": into, "ack_policy": "none"}, consumer=True
    ),
)
SYSTEM = (
    _system("$SYS.REQ.SERVER.PING.ACCOUNTZ"),
    _system("$SYS.REQ.SERVER.PING.JSZ", {"accounts": True, "streams": True}),
    _system("$SYS.REQ.ACCOUNT.{account}.INFO"),
    _system("$SYS.REQ.ACCOUNT.{account}.CONNZ"),
    _system("$SYS.REQ.ACCOUNT.{account}.JSZ"),
    _system("$SYS.REQ.ACCOUNT.{account}.SUBSZ"),
    _system("$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP"),
    _system("$SYS.REQ.ACCOUNT.{account}.CLAIMS.UPDATE", _forged_account),
    _system("$SYS.REQ.CLAIMS.UPDATE", _forged_account),
    _system(
        "$SYS.REQ.CLAIMS.DELETE", lambda v: _STRANGER.removal(v.account, issued_at_s=9).encode()
    ),
    _system("$SYS.REQ.CLAIMS.LIST"),
    _system("$SYS.REQ.CLAIMS.PACK"),
    _system("$JS.API.ACCOUNT.PURGE.{account}"),
    _system("$JS.API.ACCOUNT.STREAM.MOVE.{account}.runestone-jobs-v1-other"),
    _system("$JS.API.META.LEADER.STEPDOWN"),
)
ATTACKS = (
    *(
        _hear(what)
        for what in ("work", "record", "wake", "ledger", "root", "bucket", "all", "inbox")
    ),
    *(_hear(what) for what in ("acks", "advisories", "api")),
    _hear("root", queue="workers"),
    *(_say(what) for what in ("work", "record", "wake", "ledger")),
    _named("STREAM.NAMES"),
    _named("STREAM.LIST"),
    _store("kv-get", _kv_get),
    _store("kv-put", _kv_put),
    _store("object-stores", _object_list),
    *CALLS,
    *PULLS,
    *PUSHES,
    *SYSTEM,
)


async def succeeds(attack: Attack, client: Guest, victim: Victim) -> bool:
    victim.touched = False
    victim.strange.clear()
    await victim.rest()
    got = await attack.run(client, victim)
    await client.flush()
    await victim.look()
    return bool(got) or victim.touched
