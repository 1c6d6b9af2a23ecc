"""References to other objects. They name no namespace: nothing but a shared pool crosses one."""

from runestone_operator.api.model import ApiModel
from runestone_operator.api.names import ObjectName, ResourceName, SecretKey


class SecretKeyRef(ApiModel):
    """One key of a Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret, in the namespace of this resource."""
    key: SecretKey
    """Key within the Secret's data."""


class PolicyRef(ApiModel):
    """A RoutingPolicy of the same namespace."""

    name: ResourceName
    """Name of the RoutingPolicy, in the namespace of this resource."""
