"""The charts as real helm renders them, as data, and the values that they are tried with."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from runestone_operator.inject.sidecar import build_sidecar
from runestone_operator.settings import Settings, read_settings
from runestone_testing.kube import BUILD_VARIABLE, KUBE_TOOLS, KubeToolsMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[3]
CHART: Final = ROOT / "charts" / "runestone"
CRD_CHART: Final = ROOT / "charts" / "runestone-crds"
RELEASE: Final = "runestone"
NAMESPACE: Final = "runestone-system"
TIMEOUT_S: Final = 120
Document = dict[str, Any]
Values = dict[str, Any]

# Each may be combined with any of the others.
FACTORS: Final[Mapping[str, Mapping[str, Values]]] = {
    "operator": {
        "one": {},
        "three": {"operator": {"replicas": 3}},
        "dressed": {
            "operator": {
                "replicas": 2,
                "podDisruptionBudget": {"enabled": False},
                "podLabels": {"team": "platform"},
                "podAnnotations": {"note": "x: y"},
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "dedicated", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "priorityClassName": "system-cluster-critical",
                "extraEnv": [{"name": "TZ", "value": "UTC"}],
                "logLevel": "debug",
            }
        },
    },
    "account": {
        "made": {},
        "named": {
            "operator": {"serviceAccount": {"name": "runner", "annotations": {"role": "arn:x"}}}
        },
        "given": {"operator": {"serviceAccount": {"create": False, "name": "there-already"}}},
    },
    "webhook": {
        "own": {},
        "manager": {"webhook": {"certManager": {"enabled": True}, "failurePolicy": "Fail"}},
        "issuer": {
            "webhook": {
                "certManager": {
                    "enabled": True,
                    "issuerRef": {"kind": "ClusterIssuer", "name": "corporate"},
                },
                "validation": {"enabled": False},
            }
        },
        "off": {"webhook": {"enabled": False}},
    },
    "nats": {
        "one": {},
        "three": {
            "nats": {
                "replicas": 3,
                "storage": {"className": "fast", "size": "20Gi", "retain": False},
                "podAnnotations": {"note": "x"},
            }
        },
        "external": {
            "nats": {
                "enabled": False,
                "url": "tls://nats.example.com:4222",
                "auth": {"external": True, "resolverDir": "/srv/accounts"},
                "monitorURL": "http://nats.example.com:8222",
                "copies": 3,
            }
        },
        "passing": {"nats": {"storage": {"persistent": False}, "auth": {"enabled": False}}},
        "none": {"nats": {"enabled": False}},
    },
    "gateway": {
        "off": {},
        "fixed": {"gateway": {"enabled": True, "service": {"type": "LoadBalancer", "port": 8080}}},
        "scaled": {"gateway": {"enabled": True, "autoscaling": {"enabled": True}}},
        "elsewhere": {
            "gateway": {
                "enabled": True,
                "replicas": 1,
                "namespace": "models",
                "allowFrom": [{"namespaceSelector": {}}],
            }
        },
    },
    "images": {
        "plain": {},
        "mirrored": {
            "imageRegistry": "registry.example.com:5000/mirror",
            "imagePullSecrets": [{"name": "pull"}],
            "sidecar": {"image": {"digest": f"sha256:{'a' * 64}"}},
            "operator": {"image": {"tag": "1e3", "pullPolicy": "Always"}},
        },
    },
    "monitoring": {
        "off": {},
        "operator": {
            "monitoring": {
                "podMonitor": {"enabled": True},
                "serviceMonitor": {"enabled": True},
                "prometheusRule": {"enabled": True},
                "labels": {"release": "prometheus"},
            }
        },
        "plain": {
            "monitoring": {"scrapeConfig": {"enabled": True}, "dashboard": {"enabled": True}}
        },
    },
    "network": {
        "open": {},
        "closed": {"networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}]}},
        "off": {"networkPolicy": {"enabled": False}},
    },
    "sidecar": {
        "plain": {},
        "set": {
            "sidecar": {
                "logLevel": "warning",
                "env": [{"name": "RUNESTONE_AUDIT", "value": "stdout"}],
                "jobWebhooks": {
                    "atOnce": 4,
                    "allowCIDRs": ["10.20.0.0/16", "fd00::/64"],
                    "denyCIDRs": ["203.0.113.0/24"],
                },
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {}},
            },
            "commonLabels": {"cost-centre": "42"},
        },
    },
    "names": {
        "usual": {},
        "long": {"fullnameOverride": f"{'long-' * 12}end"},
        "other": {"nameOverride": "llm"},
    },
}


class HelmError(Exception):
    """Its text is what helm said."""


@functools.cache
def find_helm() -> Path:
    may_build = os.environ.get(BUILD_VARIABLE) == "1"
    found = subprocess.run(
        [sys.executable, KUBE_TOOLS, *([] if may_build else ["--cached"]), "helm"],
        stdout=subprocess.PIPE,
        stderr=None if may_build else subprocess.PIPE,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise KubeToolsMissingError(
            f"{(found.stderr or '').strip()}\nThis test needs helm: run hack/kube-tools helm once."
        )
    return Path(found.stdout.splitlines()[-1]) / "helm"


def helm(
    *arguments: str | Path, values: Values | None = None, env: Mapping[str, str] | None = None
) -> str:
    """What it says on stdout. Raises HelmError."""
    given = [] if values is None else ["--values", "-"]
    done = subprocess.run(
        [find_helm(), *arguments, *given],
        input=None if values is None else json.dumps(values),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"} | dict(env or {}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise HelmError(f"{done.stdout}{done.stderr}")
    assert "WARN" not in done.stderr, done.stderr
    return done.stdout


def render(values: Values, *, release: str = RELEASE, namespace: str = NAMESPACE) -> list[Document]:
    """Everything but the CRDs."""
    wanted = merged({"crds": {"enabled": False}}, values)
    return list(_rendered(json.dumps(wanted), release, namespace))


@functools.lru_cache(maxsize=256)
def _rendered(values: str, release: str, namespace: str) -> tuple[Document, ...]:
    text = helm("template", release, CHART, "--namespace", namespace, values=json.loads(values))
    return tuple(document for document in yaml.load_all(text, _Strict) if document is not None)


class _Strict(yaml.CSafeLoader):
    """A key that stands twice in a map is a mistake, and the last one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice: {keys}"
        return super().construct_mapping(node, deep=deep)


def of_kind(documents: Sequence[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def one(documents: Sequence[Document], kind: str, end: str = "") -> Document:
    """The only one of its kind whose name ends so."""
    (found,) = (
        document
        for document in of_kind(documents, kind)
        if document["metadata"]["name"].endswith(end)
    )
    return found


def operator_settings(values: Values, **render_as: str) -> Settings:
    """As the operator reads them that the chart starts."""
    found = one(render(values, **render_as), "Deployment", "-operator")
    (container,) = found["spec"]["template"]["spec"]["containers"]
    own = {"metadata.namespace": found["metadata"]["namespace"], "metadata.name": "operator-0"}
    return read_settings(
        {
            each["name"]: each["value"]
            if "value" in each
            else own[each["valueFrom"]["fieldRef"]["fieldPath"]]
            for each in container["env"]
        }
    )


def sidecar_env(values: Values) -> dict[str, str]:
    """Of an injected sidecar: what is said in plain text."""
    webhook = operator_settings(values).webhook
    assert webhook is not None
    container = build_sidecar({"metadata": {}, "spec": {}}, webhook.sidecar)
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Values:
    both = {
        key: merged(first[key], second[key])
        for key in first.keys() & second.keys()
        if isinstance(first[key], dict) and isinstance(second[key], dict)
    }
    return {**first, **second, **both}


def pairwise(factors: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Rows in which every two levels of every two factors meet. Greedy, and always the same."""
    names = list(factors)
    missing = {
        frozenset({(one_, a), (other, b)})
        for one_, other in itertools.combinations(names, 2)
        for a in factors[one_]
        for b in factors[other]
    }
    while missing:
        row: dict[str, str] = dict(min(sorted(pair) for pair in missing))
        for name in names:
            if name not in row:
                row[name] = max(factors[name], key=lambda level: _gain(row, (name, level), missing))
        missing -= {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
        yield row


def _gain(
    row: Mapping[str, str], choice: tuple[str, str], missing: set[frozenset[tuple[str, str]]]
) -> int:
    return sum(frozenset({item, choice}) in missing for item in row.items())


def combinations() -> dict[str, Values]:
    """By what they are made of: the values of every two levels of every two factors."""
    rows = pairwise({name: list(levels) for name, levels in FACTORS.items()})
    return {
        "-".join(row[name] for name in FACTORS): functools.reduce(
            merged, (FACTORS[name][row[name]] for name in FACTORS), {}
        )
        for row in rows
    }
