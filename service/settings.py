"""What the operator chose: read once at start from TIDEGATE_* and flags, frozen, passed down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.errors import BadSetting
from service.signatures import SECRET_FORM, is_secret
from service.storage.addresses import address_of

_SECRETS = frozenset({"notice_url", "notice_secret", "slack_url", "mlflow_token"})
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Durability:
    """When an append counts as kept: `fsync` is the embedded store's appendfsync, `replicas` must confirm first."""

    fsync: str = "always"
    replicas: int = 0

    def __str__(self) -> str:
        """The setting's own spelling."""
        return f"wait:{self.replicas}" if self.replicas else self.fsync


@dataclass(frozen=True)
class Settings:
    """Every setting, checked. Each is a field here, TIDEGATE_<NAME> in the environment and --<name> on the line."""

    #: Address of a Redis or Valkey server (redis://, rediss://, unix://), of nodes of a cluster (redis+cluster://) or
    #: of sentinels (redis+sentinel://); empty: the embedded one.
    store: str = ""
    #: Folder of the embedded store, the archive, models and evidence.
    data_dir: Path = Path("tidegate-data")
    #: Folder of the policy files, one YAML file a model; watched.
    policies: Path = Path("policies.d")
    #: Folder of the Parquet archive, or an address like s3://bucket/folder; empty: `archive` in the data folder.
    archive: str = ""
    #: When a batch counts as kept: always (fsync first), everysec (up to two seconds may be lost at power loss),
    #: wait:N (N replicas have confirmed; what a failover loses beyond them is lost).
    durability: Durability = Durability()
    #: Log partitions, the number of workers that can fold at once. Fixed once rows are stored.
    partitions: int = 4
    #: Address to listen on. Beyond loopback only with access keys.
    host: str = "127.0.0.1"
    #: Port to listen on; 0: any free one.
    port: int = 8321
    #: File of access keys, a line each as `tidegate keys create --line` gives it; empty: keys are only in the store.
    keys_file: str = ""
    #: What this process does: all, api, worker or scheduler.
    role: str = "all"
    #: Largest request body in bytes, before and after decompression.
    max_body_bytes: int = 32 * 1024 * 1024
    #: Most rows in one body.
    max_batch_rows: int = 50_000
    #: Most values (rows x columns) in one body, those included that its rows leave out: 80 MB as numbers.
    max_values: int = 10_000_000
    #: Most features and tags of one body.
    max_columns: int = 2_000
    #: Classes whose scores are kept; of more only the confidence is.
    max_classes: int = 64
    #: Most segments of one cut that a baseline tells apart; the rows of others are counted together, as `other`.
    max_segments: int = 50
    #: Most shadow policies of one model that are evaluated, the first by name.
    max_shadows: int = 3
    #: Longest name of a feature, tag or class, in characters.
    max_name_characters: int = 128
    #: Longest prediction id in bytes of UTF-8.
    max_id_bytes: int = 512
    #: Longest text in bytes of UTF-8.
    max_text_bytes: int = 64 * 1024
    #: Most numbers in a list, which is an embedding.
    max_list_numbers: int = 4_096
    #: How deep objects and lists of an outcome may lie within one another.
    max_depth: int = 16
    #: Most rows that the log holds before senders are asked to wait (429). At 1 kB a row: about 1 GB of store memory.
    backlog_rows: int = 1_000_000
    #: How long an idempotency key is remembered.
    idempotency: timedelta = timedelta(days=1)
    #: How long the request of a KServe exchange waits for its response, or a response for its request.
    pairing: timedelta = timedelta(minutes=10)
    #: Most bytes of such halves that wait; beyond it the oldest give way.
    pairing_bytes: int = 64 * 1024 * 1024
    #: How long a signal counts as firing after it was last told; longer than Alertmanager's repeat_interval.
    signal_life: timedelta = timedelta(hours=12)
    #: How late a label may come, or how long it waits for its prediction.
    label_horizon: timedelta = timedelta(days=30)
    #: Labels whose prediction only the archive knows are looked up together, this often.
    label_lookup: timedelta = timedelta(minutes=1)
    #: An archive file is written when this many rows are ready in a partition, with all that wait, to 50,000 ...
    archive_rows: int = 5_000
    #: ... or when the oldest of them is this old.
    archive_age: timedelta = timedelta(hours=1)
    #: Small archive files are put together to files of so many rows; 0: never.
    compact_rows: int = 500_000
    #: How long rows stay in the archive after they came; at least twice the label horizon.
    keep_rows: timedelta = timedelta(days=90)
    #: Profiles older than this are added up to days, but for the newest 4,096 slices, which are all that is looked at;
    #: those of a version out of service move to the archive when nothing was counted under it for this long.
    keep_slices: timedelta = timedelta(days=30)
    #: Profiles older than this move from the store to the archive.
    keep_profiles: timedelta = timedelta(days=365)
    #: A worker that shows no life for this long loses its partitions to another.
    lease: timedelta = timedelta(seconds=10)
    #: Most memory, in bytes, that each process of a builtin or command trainer may reserve.
    trainer_memory_bytes: int = 4 << 30
    #: Most processor time of each process of such a trainer.
    trainer_cpu: timedelta = timedelta(days=1)
    #: Most bytes of all files in the folder of such a trainer.
    trainer_disk_bytes: int = 10 << 30
    #: Most bytes of what an outside trainer sends at once: predictions, or a model as an archive.
    max_upload_bytes: int = 256 << 20
    #: Address that notices are posted to as CloudEvents; empty: none are.
    notice_url: str = field(default="", repr=False)
    #: Secret that signs them by Standard Webhooks, `whsec_` and base64; empty: they are not signed.
    notice_secret: str = field(default="", repr=False)
    #: Incoming webhook of Slack, or what speaks like it, that notices are posted to as text; empty: none are.
    slack_url: str = field(default="", repr=False)
    #: Address of an MLflow in whose registry releases are registered too; empty: in none.
    mlflow: str = ""
    #: What is sent along to it: a bearer's token, or user and password with a colon between; empty: nothing.
    mlflow_token: str = field(default="", repr=False)
    #: Address at which outside trainers reach the service, where it is not TIDEGATE_PUBLIC_URL.
    trainer_url: str = ""
    #: Image of the builtin trainer in a Job of its own, by digest: the service's own one.
    trainer_image: str = ""
    #: Address of the service as people and outside trainers reach it; empty: notices have no links, and no trainer
    #: outside is launched.
    public_url: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str], **flags: str | None) -> "Settings":
        """The settings of TIDEGATE_* variables, with `flags` (given as text, None where absent) above them.

        Raises:
            BadSetting: a value cannot be used; the message says what is allowed.
        """
        chosen: dict[str, Any] = {}
        for name, parse in _PARSERS.items():
            variable = f"TIDEGATE_{name.upper()}"
            flag = flags.pop(name, None)
            text = environment.get(variable) if flag is None else flag
            if text is None:
                continue
            try:
                chosen[name] = parse(text.strip())
            except ValueError as error:
                shown = variable if flag is None else f"--{name.replace('_', '-')}"
                raise BadSetting(shown, "…" if name in _SECRETS else text, str(error)) from error
        if flags:
            unknown = next(iter(flags))
            raise BadSetting(f"--{unknown}", str(flags[unknown]), "there is no such setting")
        settings = cls(**chosen)
        if settings.durability.replicas and not settings.store:
            raise BadSetting("TIDEGATE_DURABILITY", str(settings.durability), "the embedded store has no replicas")
        if settings.keep_rows < 2 * settings.label_horizon:
            allowed = f"at least twice TIDEGATE_LABEL_HORIZON is needed, {2 * settings.label_horizon.days} days"
            raise BadSetting("TIDEGATE_KEEP_ROWS", f"{settings.keep_rows.days}d", allowed)
        return settings

    @property
    def archive_place(self) -> Path | str:
        """Folder or address of the Parquet archive."""
        if "://" in self.archive:
            return self.archive
        return Path(self.archive) if self.archive else self.data_dir / "archive"


def _durability(text: str) -> Durability:
    if text in {"always", "everysec"}:
        return Durability(text)
    kind, _, count = text.partition(":")
    if kind != "wait" or not count.isdecimal() or not 1 <= int(count) <= 9:
        raise ValueError("allowed are always, everysec, and wait:N with N replicas from 1 to 9")
    return Durability("everysec", int(count))


def _duration(text: str) -> timedelta:
    if not text[:-1].isdecimal() or text[-1] not in _SECONDS or not 0 < int(text[:-1]) < 10_000:
        raise ValueError("allowed are durations above zero like 30s, 15m, 2h, 7d, 4w")
    return timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"allowed are whole numbers from {low} to {high}")
        return int(text)

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"allowed are {', '.join(choices)}")
        return text

    return parse


def _address(text: str) -> str:
    if text:
        address_of(text)
    return text


def _folder(text: str) -> Path:
    if not text or "://" in text:
        raise ValueError("a folder of this machine is needed")
    return Path(text).expanduser().resolve()


def _place(text: str) -> str:
    if "://" not in text:
        return str(_folder(text))
    protocol, _, rest = text.partition("://")
    if not protocol.isalnum() or not rest.strip("/"):
        raise ValueError("a folder or an address like s3://bucket/folder is needed")
    return text.rstrip("/")


def _http(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc):
        raise ValueError("an address like https://host/path is needed, without a user in it")
    return text


def _secret(text: str) -> str:
    if text and not is_secret(text):
        raise ValueError(SECRET_FORM)
    return text


def _host(text: str) -> str:
    if not text or any(sign.isspace() for sign in text):
        raise ValueError("a host name or address is needed")
    return text


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "store": _address,
    "data_dir": _folder,
    "policies": _folder,
    "archive": lambda text: _place(text) if text else "",
    "durability": _durability,
    "partitions": _whole(1, 256),
    "host": _host,
    "port": _whole(0, 65535),
    "role": _one_of("all", "api", "worker", "scheduler"),
    "max_body_bytes": _whole(1024, 1 << 30),
    "max_batch_rows": _whole(1, 1_000_000),
    "max_values": _whole(1_000, 1_000_000_000),
    "max_columns": _whole(1, 10_000),
    "max_classes": _whole(0, 1_000),
    "max_segments": _whole(1, 10_000),
    "max_shadows": _whole(0, 20),
    "max_name_characters": _whole(8, 1_024),
    "max_id_bytes": _whole(16, 4_096),
    "max_text_bytes": _whole(64, 16 << 20),
    "max_list_numbers": _whole(1, 65_536),
    "max_depth": _whole(1, 64),
    "backlog_rows": _whole(1_000, 1_000_000_000),
    "idempotency": _duration,
    "pairing": _duration,
    "pairing_bytes": _whole(1024, 1 << 40),
    "signal_life": _duration,
    "label_horizon": _duration,
    "label_lookup": _duration,
    "archive_rows": _whole(1, 10_000_000),
    "archive_age": _duration,
    "compact_rows": _whole(0, 100_000_000),
    "keep_rows": _duration,
    "keep_slices": _duration,
    "keep_profiles": _duration,
    "lease": _duration,
    "trainer_memory_bytes": _whole(256 << 20, 1 << 50),
    "trainer_cpu": _duration,
    "trainer_disk_bytes": _whole(1 << 20, 1 << 50),
    "max_upload_bytes": _whole(1024, 16 << 30),
    "keys_file": str,
    "notice_url": _http,
    "notice_secret": _secret,
    "slack_url": _http,
    "mlflow": lambda text: _http(text).rstrip("/"),
    "mlflow_token": str,
    "public_url": lambda text: _http(text).rstrip("/"),
    "trainer_url": lambda text: _http(text).rstrip("/"),
    "trainer_image": str,
}

SETTING_NAMES = tuple(field.name for field in fields(Settings))
