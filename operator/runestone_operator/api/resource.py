"""The three kinds as whole resources: who they are, and what they ask for."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, Field

from runestone_contract import names
from runestone_operator.api.apikey import ApiKeySpec
from runestone_operator.api.model import ApiModel
from runestone_operator.api.names import ItemName, ObjectName
from runestone_operator.api.providerpool import ProviderPoolSpec
from runestone_operator.api.routingpolicy import RoutingPolicySpec
from runestone_operator.api.rules import Rule
from runestone_operator.api.scalars import Timestamp

GROUP = names.GROUP
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
NAME_LIMIT = 63

# Names of the three kinds end up in label values, metrics and response headers.
NAME_RULE = Rule(
    cel=f"self.metadata.name.size() <= {NAME_LIMIT}",
    message=f"metadata.name may not be more than {NAME_LIMIT} characters",
    holds=lambda name: len(name) <= NAME_LIMIT,
)


class Metadata(ApiModel):
    """What of an object's metadata matters here. In files only the name is to be expected."""

    model_config = ConfigDict(extra="ignore")

    name: ObjectName
    namespace: ItemName
    uid: str = ""
    generation: int = 0
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderPool:
    kind: ClassVar[str] = "ProviderPool"
    meta: Metadata
    spec: ProviderPoolSpec


@dataclass(frozen=True, slots=True)
class ApiKey:
    kind: ClassVar[str] = "ApiKey"
    meta: Metadata
    spec: ApiKeySpec


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    kind: ClassVar[str] = "RoutingPolicy"
    meta: Metadata
    spec: RoutingPolicySpec


Resource = ProviderPool | ApiKey | RoutingPolicy
