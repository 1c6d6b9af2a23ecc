"""Which addresses a webhook may be sent to: those that belong to everybody, and what is let in.

By our own list, not by `ipaddress.is_global`, whose meaning changed between releases of Python. It
is asked of the very address that is then connected to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from runestone_sidecar.overflow.webhooks.urls import Address

Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


# Whatever is let in: this host, links, many hosts at once, and where clouds keep what a pod must
# not have (AWS and most others are link-local; Alibaba, Oracle, Azure; AWS and Google by IPv6).
NEVER: Final = _networks(
    *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
    *("100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"),
    *("::/128", "fe80::/10", "ff00::/8", "fd00:ec2::/32", "fd20:ce::/32"),
)
# Unless let in: IANA's registries of special addresses.
SPECIAL: Final = _networks(
    *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "240.0.0.0/4"),
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),  # Teredo, ORCHID, examples, 6to4
)
UNICAST6: Final = IPv6Network("2000::/3")  # all other IPv6 is special: ULA, IPv4 within, ...
NAT64: Final = IPv6Network("64:ff9b::/96")  # stands for the IPv4 address in its last four bytes

CLUSTER_NAMES: Final = frozenset({"svc", "local", "internal", "localdomain", "arpa", "lan", "home"})
# The API server's and the metadata services' own names.
FORBIDDEN_NAMES: Final = frozenset({"metadata", "metadata.google.internal", "instance-data"})


@dataclass(frozen=True, slots=True)
class Guard:
    allowed: tuple[Network, ...] = ()  # of the special ones
    denied: tuple[Network, ...] = ()  # beside NEVER
    own_ports: frozenset[int] = frozenset()  # of this process, on its own host

    def admits(self, address: Address, port: int) -> bool:
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped is not None:
                return self.admits(address.ipv4_mapped, port)
            if address in NAT64 and not _within(address, self.denied):
                return self.admits(IPv4Address(int(address) & 0xFFFFFFFF), port)
        if _within(address, NEVER) or _within(address, self.denied):
            return False
        if address.is_loopback and port in self.own_ports:
            return False
        return not _is_special(address) or _within(address, self.allowed)

    def admits_name(self, name: str, port: int) -> bool:
        """Before anything is resolved: for names that only lead where nobody may go."""
        labels = name.split(".")
        if name in FORBIDDEN_NAMES or labels[0] == "kubernetes" and _is_the_api(labels):
            return False
        if labels[-1] == "localhost":
            return any(self.admits(address, port) for address in _LOOPBACK)
        in_cluster = len(labels) == 1 or labels[-1] in CLUSTER_NAMES or "svc" in labels[1:]
        return not in_cluster or bool(self.allowed)


_LOOPBACK: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def _is_the_api(labels: list[str]) -> bool:
    """kubernetes, kubernetes.default, kubernetes.default.svc(.cluster.local)"""
    return labels[1:2] in ([], ["default"]) and labels[2:3] in ([], ["svc"])


def _is_special(address: Address) -> bool:
    outside = isinstance(address, IPv6Address) and address not in UNICAST6
    return outside or _within(address, SPECIAL)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
