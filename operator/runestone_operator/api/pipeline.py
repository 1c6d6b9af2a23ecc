"""The middleware that a RoutingPolicy may spell out. What settings mean is the middleware's."""

from typing import Annotated, Any

from pydantic import Field

from runestone_operator.api.forms import Form, matching
from runestone_operator.api.model import ApiModel, Keeps
from runestone_operator.api.rules import Rule

BUILT_IN_STAGES = (
    "Validate", "RateLimit", "Cache", "Transform", "Usage", "Audit", "Log", "Sign",
)  # fmt: skip

StageName = Annotated[
    str,
    Form(
        63,
        (
            matching(
                "|".join(BUILT_IN_STAGES) + "|[a-z][a-z0-9]*([._-][a-z0-9]+)*",
                f"must be one of {', '.join(BUILT_IN_STAGES)}, or the lower-case name of an"
                " installed middleware",
            ),
        ),
    ),
]


class PipelineStage(ApiModel):
    """One middleware of a pipeline."""

    name: StageName
    """Built-in middleware (CamelCase), or the entry point name of an installed one."""
    required: bool | None = None
    """Whether a request fails when the middleware does; otherwise the middleware is skipped. When
    left out, as the middleware itself says."""
    settings: Annotated[
        dict[str, Any],
        Field(max_length=64, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
    ] = Field(default_factory=dict)
    """Settings, as the middleware defines them."""


def _only_transform_repeats(stages: tuple[PipelineStage, ...]) -> bool:
    names = [stage.name for stage in stages if stage.name != "Transform"]
    return len(set(names)) == len(names)


PipelineStages = Annotated[
    tuple[PipelineStage, ...],
    Field(max_length=32),
    Keeps(
        (
            Rule(
                "self.all(s, s.name == 'Transform' || self.exists_one(t, t.name == s.name))",
                "only Transform may be listed more than once",
                _only_transform_repeats,
            ),
        )
    ),
]
