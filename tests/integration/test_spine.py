"""The whole way on a real API server: apply, compile, publish, mount, answer; break, keep serving.

The operator runs under its own role, the sidecar on the directory that a kubelet would mount.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from runestone_testing import bundles
from runestone_testing.echo import Echo, running_echo
from runestone_testing.kube import ApiServer
from runestone_testing.operators import ROOT, Cluster, OperatorProcess, eventually
from runestone_testing.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.kube

SHOP = "shop"
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def cluster(apiserver: ApiServer) -> Iterator[Cluster]:
    with Cluster(apiserver) as found:
        yield found


@pytest.fixture(scope="module")
def operator(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    log = tmp_path_factory.mktemp("operator") / "log"
    with OperatorProcess(cluster, log) as found:
        yield found.wait_until_ready()


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with running_echo() as found:
        yield found


@pytest.fixture(scope="module")
def shop(cluster: Cluster, operator: OperatorProcess, echo: Echo) -> str:
    """The examples, applied as they are; then their providers are pointed at a stand-in."""
    cluster.create_namespace(SHOP)
    done = cluster.api.kubectl("apply", "-f", str(ROOT / "examples"))
    assert done.returncode == 0, done.stderr
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "ProviderPool":
                for provider in document["spec"]["providers"]:
                    suffix = "/v1" if provider["type"] == "OpenAI" else ""
                    provider["baseURL"] = f"http://127.0.0.1:{echo.port}{suffix}"
                cluster.apply(document)
    eventually("the examples are published", lambda: cluster.is_published(SHOP))
    return SHOP


def mount(cluster: Cluster, namespace: str, root: Path) -> str:
    """What kubelet does with the published objects; the digest."""
    files = {name: text.encode() for name, text in cluster.files(namespace).items()}
    bundles.swap(root / "credentials", cluster.secret_values(namespace, "runestone-credentials"))
    bundles.swap(root / "config", files)
    digest: str = json.loads(files["index.json"])["digest"]
    return digest


@pytest.fixture(scope="module")
def mounted(
    cluster: Cluster, shop: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Sidecar]]:
    root = tmp_path_factory.mktemp("pod")
    digest = mount(cluster, shop, root)
    with running_sidecar(root, root, RUNESTONE_SERVICE_ACCOUNT="checkout") as sidecar:
        sidecar.wait_for_digest(digest)
        yield root, sidecar


def said(sidecar: Sidecar, key: str, model: str, **more: Any) -> str:
    with openai.OpenAI(base_url=sidecar.base_url, api_key=key, max_retries=0) as client:
        reply = client.chat.completions.create(model=model, messages=MESSAGES, **more)
        if more.get("stream"):
            return "".join(event.choices[0].delta.content or "" for event in reply if event.choices)
        content: str = reply.choices[0].message.content
        return content


def generated_key(cluster: Cluster) -> str:
    return cluster.secret_values(SHOP, "checkout-api-key")["api-key"].decode()


def test_every_example_is_accepted_resolved_and_programmed(cluster: Cluster, shop: str) -> None:
    for kind, name in (
        ("ProviderPool", "frontier"),
        ("ProviderPool", "house"),
        ("ApiKey", "checkout"),
        ("ApiKey", "checkout-fixed"),
        ("ApiKey", "reports"),
        ("RoutingPolicy", "default"),
    ):
        for condition in ("Accepted", "ResolvedRefs", "Programmed"):
            eventually(
                f"{kind}/{name} is {condition}",
                lambda kind=kind, name=name, condition=condition: (  # type: ignore[misc]
                    cluster.conditions(kind, shop, name).get(condition, {}).get("status") == "True"
                ),
            )


def test_the_generated_key_is_in_its_secret_and_nowhere_else(
    cluster: Cluster, shop: str, operator: OperatorProcess
) -> None:
    key = generated_key(cluster)
    assert key.startswith("sk-rs-")
    assert len(key) == len("sk-rs-") + 43
    secret = cluster.get("Secret", shop, "checkout-api-key")
    assert secret is not None
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "ApiKey"
    assert (
        cluster.secret_values(shop, "checkout-api-key")["base-url"] == b"http://localhost:4003/v1"
    )
    elsewhere = "".join(
        json.dumps(cluster.list(kind, shop))
        for kind in ("ApiKey", "ProviderPool", "RoutingPolicy", "ConfigMap", "Event")
    )
    assert key not in elsewhere
    assert key not in operator.log.read_text()
    assert "sk-test-openai" not in elsewhere + operator.log.read_text()


def test_the_mounted_directory_answers(cluster: Cluster, mounted: tuple[Path, Sidecar]) -> None:
    _, sidecar = mounted
    key = generated_key(cluster)
    openai_key = "sk-test-openai-0000000000000000000000"
    assert said(sidecar, key, "smart") == f"gpt-4o at /v1/chat/completions by {openai_key}"
    assert said(sidecar, key, "fast", stream=True).startswith("gpt-4o-mini at /v1/chat")


def test_the_anthropic_dialect_answers_behind_the_same_endpoint(
    cluster: Cluster, mounted: tuple[Path, Sidecar]
) -> None:
    _, sidecar = mounted
    text = said(sidecar, generated_key(cluster), "claude-3-5-sonnet")
    assert (
        text == "claude-3-5-sonnet-20241022 at /v1/messages by sk-ant-test-000000000000000000000000"
    )
    streamed = said(sidecar, generated_key(cluster), "claude-3-5-sonnet", stream=True)
    assert streamed.strip() == text


def test_a_tenant_goes_where_its_rule_says(mounted: tuple[Path, Sidecar]) -> None:
    _, sidecar = mounted
    key = "sk-rs-test-reports-0123456789abcdefghijklmnopq"
    with openai.OpenAI(base_url=sidecar.base_url, api_key=key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="llama-3.3-70b", messages=MESSAGES
        )
        assert raw.headers["x-runestone-provider"] == "shop/house/vllm-a"  # the cheaper one
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


def test_a_pods_service_account_needs_no_key(mounted: tuple[Path, Sidecar]) -> None:
    import httpx

    _, sidecar = mounted
    answer = httpx.post(
        f"{sidecar.base_url}/chat/completions", json={"model": "fast", "messages": MESSAGES}
    )
    assert answer.status_code == 200


def test_breaking_a_policy_names_the_mistake_and_keeps_the_last_good_state(
    cluster: Cluster, mounted: tuple[Path, Sidecar]
) -> None:
    root, sidecar = mounted
    before = cluster.files(SHOP)
    policy = cluster.get("RoutingPolicy", SHOP, "default")
    assert policy is not None
    rules = policy["spec"]["rules"]
    broken = [rule | {"targets": [{"pool": "frontierr"}]} for rule in rules[-1:]]
    cluster.patch("RoutingPolicy", SHOP, "default", {"spec": {"rules": [*rules[:-1], *broken]}})

    def complaint() -> str | None:
        found = cluster.conditions("RoutingPolicy", SHOP, "default").get("ResolvedRefs", {})
        return found["message"] if found.get("status") == "False" else None

    message = eventually("the condition names the mistake", complaint)
    assert "frontierr" in message
    assert "everything-else" in message
    assert cluster.files(SHOP) == before
    mount(cluster, SHOP, root)
    assert said(sidecar, generated_key(cluster), "smart").startswith("gpt-4o at")
    cluster.patch("RoutingPolicy", SHOP, "default", {"spec": {"rules": rules}})
    eventually("the mended policy is resolved", lambda: complaint() is None)
    eventually("what is published is what is compiled", lambda: cluster.is_published(SHOP))


def test_a_changed_alias_changes_the_answer(
    cluster: Cluster, mounted: tuple[Path, Sidecar]
) -> None:
    root, sidecar = mounted
    cluster.patch("RoutingPolicy", SHOP, "default", {"spec": {"aliases": {"smart": "gpt-4o-mini"}}})
    eventually(
        "the new alias is published",
        lambda: '"smart":"gpt-4o-mini"' in "".join(cluster.files(SHOP).values()),
    )
    eventually("its index too", lambda: cluster.is_published(SHOP))
    sidecar.wait_for_digest(mount(cluster, SHOP, root))
    assert said(sidecar, generated_key(cluster), "smart").startswith("gpt-4o-mini at")


def test_kubectl_get_tells_the_state_at_a_glance(cluster: Cluster, shop: str) -> None:
    shown = cluster.api.kubectl("get", "pp,ak,rp", "-n", shop)
    assert shown.returncode == 0, shown.stderr
    header = shown.stdout.splitlines()[0]
    assert "PROGRAMMED" in header
    row = next(line for line in shown.stdout.splitlines() if "/frontier" in line)
    assert row.split()[1:8] == ["Priority", "2", "2", "4", "True", "True", "True"]
