"""Names both sides must agree on: files, objects, labels, annotations, headers and ports."""

GROUP = "runestone.dev"

# The bundle as objects in the namespace, and as files where a pod mounts them.
CONFIG_MAP = "runestone-config"
CREDENTIALS_SECRET = "runestone-credentials"
OVERFLOW_KEY_SECRET = "runestone-overflow-key"  # where the next is from, made once
OVERFLOW_KEY_ENTRY = (
    "overflow-key"  # of the credentials: 32 bytes in base64 that jobs are sealed with
)
NATS_SECRET = "runestone-nats-user"  # of a namespace: who its sidecars are at NATS
NATS_CREDENTIALS = "nats.creds"  # its entry, and that of the credentials which is made from it
INDEX_FILE = "index.json"
MAX_SHARDS = 16  # a pod lists each possible shard as an optional projected source
DATA_LINK = "..data"  # kubelet swaps this symbolic link when all files of a volume are in place

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "runestone-operator"
INJECT_LABEL = f"{GROUP}/inject"
CONFIG_ANNOTATION = f"{GROUP}/config"  # on a pod: the digest it should hold; a change wakes kubelet
CREDENTIALS_ANNOTATION = f"{GROUP}/credentials"  # the same, for the credentials

API_PORT = 4003
HEALTH_PORT = 4004
WEBSOCKET_PORT = 4005

# What a client sends that is known by its pod's ServiceAccount: SDKs do not start without a key. It
# counts as none.
NO_KEY = "runestone-service-account"

HEADER_REQUEST_ID = "x-request-id"
HEADER_PROVIDER = "x-runestone-provider"
HEADER_MODEL = "x-runestone-model"
HEADER_ATTEMPTS = "x-runestone-attempts"
HEADER_CONFIG = "x-runestone-config"
HEADER_QUEUED = "x-runestone-queued"
HEADER_DEBUG = "x-runestone-debug"

KEY_PREFIX_LENGTH = 10


def nats_root(namespace: str) -> str:
    """What all subjects of a namespace begin with."""
    return f"runestone.{namespace}"


def limits_bucket(namespace: str) -> str:
    """Where a namespace's sidecars write down who holds what of a limit."""
    return f"runestone-limits-{namespace}"


def shard_file(number: int) -> str:
    return f"shard-{number}.jsonl"


def shard_config_map(number: int) -> str:
    return f"{CONFIG_MAP}-{number}"
