"""What can go wrong with a cluster, in words for the one who asked for it."""


class ClusterError(Exception):
    """The cluster cannot be had; the text says why and, where there is one, the way out."""


class MachineError(ClusterError):
    """This machine cannot run a node at all: `reasons`, one a line."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("no node can run here: " + "; ".join(reasons))
        self.reasons = reasons
