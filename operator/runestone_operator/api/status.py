"""What the operator reports on each kind. Written by the operator alone, never read as a wish."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from runestone_operator.api.model import ApiModel, MapList
from runestone_operator.api.scalars import Timestamp

MESSAGE_LIMIT = 32_768

Number = Annotated[int, Field(ge=0, le=2**53)]
# Patterns, as metav1.Condition has them: nobody but the operator writes these.
ConditionType = Annotated[
    str, Field(max_length=316, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$")
]
Reason = Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
Message = Annotated[str, Field(max_length=MESSAGE_LIMIT)]
ShortText = Annotated[str, Field(max_length=253)]


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of the state, in the shape that all of Kubernetes uses."""

    type: ConditionType
    """Which aspect: Accepted, ResolvedRefs, Programmed or Conflicted."""
    status: ConditionStatus
    """Whether it holds."""
    observed_generation: Number = 0
    """metadata.generation that this was said of."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    reason: Reason
    """One word for programs to go by."""
    message: Message
    """What is the matter, for people."""


class ResourceStatus(ApiModel):
    """What the operator last found."""

    observed_generation: Number | None = None
    """metadata.generation that the operator last looked at."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=8), MapList("type")] = ()
    """Accepted: the spec makes sense. ResolvedRefs: every reference was found and is allowed.
    Programmed: every sidecar runs it. Conflicted: another resource wins over it."""
    sidecars: ShortText | None = None
    """Sidecars that run it, of those that should: 3/3."""
    digest: ShortText | None = None
    """Start of the digest of the configuration that it is compiled into."""


class ProviderPoolStatus(ResourceStatus):
    """What the operator last found of the pool."""

    providers: Number | None = None
    """Providers in the pool."""
    ready_providers: Number | None = None
    """Providers whose credentials were all found."""
    models: Number | None = None
    """Different models that the pool serves."""


class ApiKeyStatus(ResourceStatus):
    """What the operator last found of the key. The key itself is in its Secret and nowhere else."""

    key_prefix: ShortText | None = None
    """First 10 characters of the key, to know it by."""
    secret_name: ShortText | None = None
    """Secret that holds the key."""
    previous_key_expires_at: Timestamp | None = None
    """When the key from before the last rotation ceases to work."""


class RoutingPolicyStatus(ResourceStatus):
    """What the operator last found of the policy."""

    rules: Number | None = None
    """Rules in force."""
