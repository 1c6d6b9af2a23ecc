"""What runs on the cluster itself: its DNS."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Final

from cluster.layout import DNS_DOMAIN, DNS_SERVICE_IP

COREDNS_IMAGE: Final = "runestone.local/coredns:1"


def manifests() -> str:
    template = Template(Path(__file__).with_name("coredns.yaml").read_text())
    return template.substitute(image=COREDNS_IMAGE, service_ip=DNS_SERVICE_IP, domain=DNS_DOMAIN)
