"""What becomes of each field of a legacy completion on its way to a model that only chats.

The table is the documentation and the tests' parameters. What only a model that continues text can
do is refused, and so is a field that is in nobody's table: a 400 that names it can be acted on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from runestone_sidecar.upstream.dialects.base import Untranslatable
from runestone_sidecar.upstream.surfaces.translated_refusal import place_of


@dataclass(frozen=True, slots=True)
class Carried:
    how: str
    as_: str | None = None  # the chat's name for it; None: it is said otherwise


@dataclass(frozen=True, slots=True)
class Refused:
    why: str
    neutral: tuple[Any, ...] = ()  # values that ask for nothing


FIELDS: Final[Mapping[str, Carried | Refused]] = {
    "model": Carried("the provider's name for it", "model"),
    "prompt": Carried("one text, alone or in an array, is one user message; anything else refused"),
    "max_tokens": Carried(
        "the chat's limit; left out, it is the model's and not the 16 of old",
        "max_completion_tokens",
    ),
    "n": Carried("as it is", "n"),
    "stop": Carried("as it is", "stop"),
    "temperature": Carried("as it is", "temperature"),
    "top_p": Carried("as it is", "top_p"),
    "presence_penalty": Carried("as it is", "presence_penalty"),
    "frequency_penalty": Carried("as it is", "frequency_penalty"),
    "logit_bias": Carried("as it is", "logit_bias"),
    "seed": Carried("as it is", "seed"),
    "user": Carried("as it is", "user"),
    "stream": Carried("as it is", "stream"),
    "stream_options": Carried("include_usage is ours to do"),
    "suffix": Refused("This model only chats: it cannot fill in before a `suffix`.", ("",)),
    "echo": Refused("This model only chats: it cannot `echo` the prompt.", (False,)),
    "best_of": Refused("This model only chats: it cannot choose the `best_of` several.", (1,)),
    "logprobs": Refused("This model only chats: it does not give `logprobs` of this form."),
}


def carried(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The chat's fields that are another name for one of these. Raises Untranslatable."""
    for name, value in body.items():
        if value is None:
            continue  # no setting
        field = FIELDS.get(name)
        if field is None:
            raise Untranslatable("This field is not known for this model.", param=name)
        if isinstance(field, Carried):
            if field.as_ is not None:
                yield field.as_, value
        elif value not in field.neutral:
            raise Untranslatable(field.why, param=name)


# The chat's field -> the one that it is said for; what is not here, a client did not ask for.
PARAMS: Final[Mapping[str, str]] = {
    **{
        field.as_: name
        for name, field in FIELDS.items()
        if isinstance(field, Carried) and field.as_ is not None
    },
    "messages": "prompt",
    "prompt": "prompt",  # Azure's word for the messages
    "max_tokens": "max_tokens",
}


def param_of_chat(param: str) -> str | None:
    place = place_of(param)
    return PARAMS.get(place.field) if place is not None else None
