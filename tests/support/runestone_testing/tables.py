"""Write sidecar/TABLES.md from the tables that the sidecar itself works by.

Usage: hack/tables            writes it
       hack/tables --check    writes nothing; shows the difference and fails when there is one
"""

import difflib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from runestone_operator.api.provider import Capability
from runestone_sidecar.admit import cooldown
from runestone_sidecar.app import build
from runestone_sidecar.config.build import DIALECTS
from runestone_sidecar.edge.generate import SURFACES
from runestone_sidecar.pipeline import verdicts
from runestone_sidecar.pipeline.other_models import INSTEAD, NEVER_WITHOUT, OF_BODIES, OF_TOOLS
from runestone_sidecar.settings import NUMBERS, TEXTS, Settings
from runestone_sidecar.telemetry.events import EventType
from runestone_sidecar.upstream import tunnel
from runestone_sidecar.upstream.dialects import anthropic_fields, openai_translated
from runestone_sidecar.upstream.dialects.base import Dialect
from runestone_sidecar.upstream.dialects.fields import Field
from runestone_sidecar.upstream.surfaces import (
    completions_fields,
    messages_fields,
    messages_params,
    responses_fields,
    responses_params,
)
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.codec import can_serve, codec_for
from runestone_sidecar.upstream.surfaces.count_tokens import COUNT_TOKENS
from runestone_sidecar.upstream.surfaces.passthrough import PASSTHROUGH
from runestone_sidecar.upstream.surfaces.preferences import PREFERENCES

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "sidecar" / "TABLES.md"

# As much as every API wants, and no more
LEAST: Final = {"model": "m", "messages": [], "max_tokens": 1, "input": "x", "prompt": "x"}

Rows = Iterable[tuple[str, ...]]
Fields = Mapping[str, Field]

APIS: Final[Mapping[str, Surface]] = {
    **SURFACES,
    "/v1/messages/count_tokens": COUNT_TOKENS,
    "other endpoints of OpenAI's": PASSTHROUGH,
}

# What is done where a provider can be asked in neither way
NEITHER: Final = {COUNT_TOKENS.name: ("no", "no, but our estimate")}

HEAD: Final = """\
# The sidecar's tables

Written by `hack/tables` from the data that the sidecar itself works by, and kept true by
`hack/check`. What no table has is refused: a 400 that names the field can be acted on.
"""

PAIRS: Final = """\
## Who can be asked in which API

A request goes to a provider as it is where the provider's format has the client's API: nothing but
the model's name is changed, and the bytes of the answer come back unchanged. Otherwise it is said
as a chat, where a model can have one, and a field's fate is in the tables below. What a model can
do is what its ProviderPool states, and one that states nothing is kept from nothing.

One exception: a stream of chat or legacy completions, to a provider of OpenAI's format, for a key
with `tokensPerMinute` or `budget`. Where the client did not, `stream_options.include_usage` is set
to true in its body, and each chunk with a `usage` and no `choices` is taken out of the answer.

Another: what a Claude model thought, which its Responses hold sealed by this gateway, is left out
for a provider that is asked in Responses, and such a body is encoded anew. So is one with thoughts
that have no signature, as those of other vendors' models: they are left out for Anthropic's.

Where none of a model's providers counts tokens, `/v1/messages/count_tokens` answers with our own
estimate.
"""

PAIRS_HEAD: Final = ("client's API", "a model needs", "provider", "as it is", "as a chat")

PREFERRED: Final = """\
### What a request prefers

It is kept from no model. Where the client's API is the provider's own, a model that states its
capabilities, and not this one, goes behind the others of the rule's targets or fallbacks, for it
would most likely refuse the field. A rule's `match.capabilities` counts it like a need.
"""

TRANSLATIONS: Final = """\
## What becomes of each field

What only tunes cost, speed or quality is dropped where it has no counterpart. What a client's code
relies on is refused, since an answer without it would look like a success; a refused field may hold
the values in brackets, which ask for nothing. Between two formats, a request becomes a chat by the
table of the client's API first, and then what the provider's format makes of a chat.
"""

OTHERS: Final = """\
### Which other models a request may name

For an ApiKey with `allowedModels`; all others name what they like.
"""

NAMES: Final = """\
### What a refused chat's field is called to the client

Where the provider, or its format, refuses what a translated request became. `messages` and `tools`
are told down to the turn, the item or the tool. A dash: the client said no such thing, and is told
of no field.
"""

ERRORS: Final = """\
## What a failed call to a provider leads to

`same again` is the provider's own `retry`; `other credential` where it has several; `other
provider` is the next one of the routing decision. Nothing is tried again once a byte of an answer
went to the client.
"""

PAUSES: Final = f"""\
### How long one is left alone

Where the provider says how long, that long, and at most {cooldown.MAX_PAUSE_S:g} s; else:
"""

SETTINGS: Final = """\
## Settings of the process

Environment variables, read once at the start. One that cannot be meant ends the process at once.
"""

METRICS: Final = """\
## Metrics

At `/metrics` of the health port, beside the process's own (`process_…`, `python_…`). Labels come
from the configuration and from closed sets, never from a request.
"""

EVENTS: Final = """\
## Events

What the parts of the gateway tell each other, a closed set: `runestone_events_total` has a series
for each from the start. Those of `cache` are of a feature that is not there yet, and stay at zero.
"""


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    wanted = render()
    found = FILE.read_text() if FILE.exists() else ""
    if not arguments:
        FILE.write_text(wanted)
        return 0
    name = str(FILE.relative_to(ROOT))
    difference = difflib.unified_diff(
        found.splitlines(keepends=True),
        wanted.splitlines(keepends=True),
        fromfile=f"{name} (found)",
        tofile=f"{name} (generated)",
    )
    sys.stdout.writelines(difference)
    return int(found != wanted)


def render() -> str:
    sections = [
        HEAD,
        PAIRS + "\n" + table(PAIRS_HEAD, pairs()),
        PREFERRED
        + "\n"
        + table(("client's API", "field", "prefers", "where it is"), preferences()),
        TRANSLATIONS,
        *translations(),
        OTHERS + "\n" + table(("where", "what"), other_models()),
        ERRORS + "\n" + verdicts.markdown(),
        PAUSES + "\n" + table(("reason", "seconds"), pauses()),
        SETTINGS + "\n" + table(("variable", "default", "range", "meaning"), settings()),
        METRICS + "\n" + table(("metric", "type", "labels", "meaning"), metrics()),
        EVENTS + "\n" + table(("event", "meaning"), events()),
    ]
    return "\n".join(sections)


def table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, ("---",) * len(head), *(tuple(map(escaped, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


# --- the pairs


def pairs() -> Iterator[tuple[str, ...]]:
    for path, surface in APIS.items():
        for name, dialect in DIALECTS.items():
            ways = {caps: way(surface, dialect, caps) for caps in statements()}
            asked = [condition(ways, wanted) for wanted in ("as it is", "as a chat")]
            if not any(asked):
                asked = list(NEITHER.get(surface.name, ("not possible", "not possible")))
            shown = f"`{path}`" if path.startswith("/") else path
            yield shown, needs_of(surface), name, *(each or "no" for each in asked)


def preferences() -> Iterator[tuple[str, ...]]:
    for path, surface in APIS.items():
        for each in PREFERENCES.get(surface.name, ()):
            yield f"`{path}`", f"`{each.field}`", f"`{each.capability}`", each.how


def needs_of(surface: Surface) -> str:
    """Of the least that can be asked."""
    return ", ".join(f"`{need}`" for need in sorted(surface.traits(LEAST).needs)) or "nothing"


def statements() -> Iterator[frozenset[str]]:
    """What a model may state: nothing, or one thing, for each alone can decide."""
    yield frozenset()
    for capability in Capability:
        yield frozenset({capability.value})


def way(surface: Surface, dialect: Dialect, capabilities: frozenset[str]) -> str | None:
    if not can_serve(surface, dialect, capabilities):
        return None
    codec = codec_for(surface, dialect, capabilities)
    return "as it is" if codec is dialect.native.get(surface.name) else "as a chat"


def condition(ways: Mapping[frozenset[str], str | None], wanted: str) -> str:
    """Which models are asked in this way; empty: none."""
    those = [caps for caps, found in ways.items() if found == wanted]
    if len(those) == len(ways):
        return "any model"
    stated = [f"`{name}`" for caps in those for name in caps]
    if len(stated) > len(ways) // 2:  # all but the few that are asked in the other way
        stated = ["anything else"]
    if frozenset() in those:
        stated.append("nothing")
    return f"a model that states {' or '.join(stated)}" if stated else ""


# --- the fields


def translations() -> Iterator[str]:
    yield section("A chat to a provider of Anthropic's format", anthropic_fields.FIELDS)
    yield section("Anthropic's Messages as a chat", messages_fields.FIELDS)
    yield section("Its content blocks", messages_fields.BLOCKS, deeper=True, column="block")
    yield section("OpenAI's Responses, whoever is asked", responses_fields.NOT_SERVED)
    yield section("OpenAI's Responses as a chat", responses_fields.FIELDS)
    nested = {
        **{f"text.{name}": field for name, field in responses_fields.TEXT_FIELDS.items()},
        **{f"reasoning.{name}": field for name, field in responses_fields.REASONING_FIELDS.items()},
    }
    yield section("Its settings within settings", nested, deeper=True)
    items = {**responses_fields.ITEMS, "any other": responses_fields.UNKNOWN_ITEM}
    yield section("Its items", items, deeper=True, column="item")
    yield (
        "### Legacy completions as a chat\n\n"
        + table(("field", "fate", "how, or why not"), completions())
    )
    yield (
        "### A chat that was said for another API, to a provider of OpenAI's format\n\n"
        + table(("field", "what is done", "models whose name matches"), fitted())
    )
    yield (
        NAMES
        + "\n"
        + table(("field of the chat", "Messages", "Responses", "Completions"), params())
    )


def other_models() -> Iterator[tuple[str, ...]]:
    for name in INSTEAD:
        yield f"`{name}`", "none"
    for path in OF_BODIES:
        yield f"`{'.'.join(path)}`", "one that the key allows"
    for path in OF_TOOLS:
        yield f"`tools[].{'.'.join(path)}`", "one that the key allows"
    for kind in sorted(NEVER_WITHOUT):
        yield f"`tools[].type` of `{kind}`", "`model` is needed: the provider would choose one"


def section(title: str, given: Fields, *, deeper: bool = False, column: str = "field") -> str:
    rows = ((f"`{name}`", field.fate.value, reason_of(field)) for name, field in given.items())
    depth = "####" if deeper else "###"
    return f"{depth} {title}\n\n" + table((column, "fate", "how, or why not"), rows)


def reason_of(field: Field) -> str:
    return field.reason + neutral_values(field.neutral)


def neutral_values(values: tuple[Any, ...]) -> str:
    shown = ", ".join(f"`{json.dumps(value)}`" for value in values)
    return f" ({shown})" if shown else ""


def completions() -> Iterator[tuple[str, ...]]:
    for name, field in completions_fields.FIELDS.items():
        if isinstance(field, completions_fields.Refused):
            yield f"`{name}`", "refused", field.why + neutral_values(field.neutral)
        else:
            renamed = field.as_ not in (None, name)
            yield f"`{name}`", "carried", f"`{field.as_}`: {field.how}" if renamed else field.how


def fitted() -> Iterator[tuple[str, ...]]:
    for name, row in openai_translated.FITTED.items():
        models = "any" if row.models is None else f"`{row.models.pattern}`"
        yield f"`{name}`", row.how, models


def params() -> Iterator[tuple[str, ...]]:
    known = {
        **messages_params.PARAMS,
        **responses_params.PARAMS,
        **completions_fields.PARAMS,
    }
    for name in known:
        texts = completions_fields.PARAMS.get(name)
        yield (
            f"`{name}`",
            code(messages_params.PARAMS.get(name, ())),
            code(responses_params.PARAMS.get(name, ())),
            code((texts,) if texts else ()),
        )


def code(names: tuple[str, ...]) -> str:
    return " or ".join(f"`{name}`" for name in names) or "–"


# --- errors, settings, metrics


def pauses() -> Iterator[tuple[str, ...]]:
    for reason, seconds in cooldown.DEFAULT_S.items():
        yield reason.value, f"{seconds:g}"


def settings() -> Iterator[tuple[str, ...]]:
    defaults = {field.name: field.default for field in fields(Settings)}
    for text in TEXTS.values():
        yield f"`{text.variable}`", f"`{text.default}`" if text.default else "", "", text.text
    for name, number in NUMBERS.items():
        default: Any = defaults[name]
        between = f"{number.low} to {number.high}"
        yield f"`{number.variable}`", f"{default:.0f}", between, number.text
    for variable, meaning in tunnel.VARIABLES.items():
        yield f"`{variable}`", "", "", meaning


def metrics() -> Iterator[tuple[str, ...]]:
    settings = Settings(ROOT, ROOT, nats_urls=("nats://127.0.0.1",))
    registry = build(settings).health.metrics.registry
    declared = {
        getattr(each, "_name", ""): getattr(each, "_labelnames", ())
        for each in registry._collector_to_names
    }
    for family in registry.collect():
        if family.name.startswith("runestone_"):
            # A family of ours knows its labels; of the library's own, the declaration does.
            labels = getattr(family, "_labelnames", None) or declared.get(family.name, ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            shown = ", ".join(f"`{label}`" for label in labels)
            yield f"`{name}`", family.type, shown, family.documentation


def events() -> Iterator[tuple[str, ...]]:
    for each in EventType:
        yield f"`{each}`", each.meaning


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
