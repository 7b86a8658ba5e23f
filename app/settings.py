"""Every setting of the service: environment (`FUSEBOX_...`) to one frozen value. Read only by the composition roots."""

import hashlib
import ipaddress
import os
import re
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SECONDS_PER = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST_SECONDS = 100 * 365 * 86400  # Longer waits overflow the system's clocks.
_BYTES_PER = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
ADDRESS_OF_SERVICE = re.compile(r"(tcp|udp|sctp)://")  # as Kubernetes and container links write one into a variable


def _seconds(value: Any) -> Any:
    """`90`, `90s`, `15m`, `24h` or `7d` as seconds."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, str):
        return value
    # The exponent: as Python writes small and large numbers, and `serve` hands its settings on as text.
    matched = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([smhdw]?)\s*", value.lower())
    if matched is None:
        raise ValueError("write a number of seconds, or a number with s, m, h, d or w: 90, 15m, 24h, 7d")
    return float(matched[1]) * _SECONDS_PER[matched[2]]


def _bytes(value: Any) -> Any:
    """`4294967296`, `512M` or `4GiB` as bytes; units are powers of 1024."""
    if not isinstance(value, str):
        return value
    matched = re.fullmatch(r"\s*(\d+)\s*([kmgt]?)(?:i?b)?\s*", value.lower())
    if matched is None:
        raise ValueError("write a number of bytes, or a number with K, M, G or T: 4294967296, 512M, 4G")
    return int(matched[1]) * _BYTES_PER[matched[2]]


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=_LONGEST_SECONDS, allow_inf_nan=False)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0)]
Quota = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]


def _listed(value: str) -> list[str]:
    return [one.strip() for one in value.split(",") if one.strip()]


# The characters of a key are those of RFC 6750: it stands in a header.
_GIVEN_KEY = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._@-]{0,63})=(?:sha256:([0-9a-fA-F]{64})|([A-Za-z0-9._~+/-]{32,512}=*))"
)


def _digests(value: str) -> dict[str, str]:
    """Names and digests of keys written as NAME=KEY or NAME=sha256:HEX, with commas, spaces or lines between them."""
    found: dict[str, str] = {}
    for entry in re.split(r"[\s,]+", value.strip()):
        matched = _GIVEN_KEY.fullmatch(entry)
        if matched is None and entry:
            # A digest of something shorter could be tried out by whoever reads it.
            raise ValueError("write NAME=KEY, a key of at least 32 characters, or NAME=sha256: and 64 hex digits")
        if matched is not None and matched[1] in found:
            raise ValueError(f"the name {matched[1]} is given twice")
        if matched is not None:
            found[matched[1]] = (matched[2] or hashlib.sha256(matched[3].encode()).hexdigest()).lower()
    return found


class InvalidSettings(Exception):
    """A setting has a value that it can't have; the text names the variable, the value and what is expected."""


class Settings(BaseSettings):
    """Settings of every role. Each field is the environment variable `FUSEBOX_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="FUSEBOX_", frozen=True, extra="forbid", env_ignore_empty=True)

    # Not empty: the system would take that as every address.
    host: str = Field("127.0.0.1", min_length=1, description="Address the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 takes a free one.")
    data_dir: Path = Field(Path("data"), description="Where SQLite, blobs and job directories lie.")
    database_url: str = Field("", description="SQLAlchemy URL; empty for SQLite in the data directory.")
    blob_url: str = Field("", description="s3://, gs://, az:// or file:// URL; empty for the data directory.")

    public_url: str = Field("", description="URL by which callers find the service, for links; empty: as they asked.")
    allowed_hosts: str = Field("", description="Host names that are answered, with commas between them.")
    trusted_proxies: str = Field("", description="Addresses of proxies whose X-Forwarded-* headers are believed.")

    auth: Literal["auto", "required", "off"] = Field(
        "auto", description="Whether callers need an API key; auto: not on loopback, unless keys are given."
    )
    api_keys: str = Field("", description="API keys besides those of the database: NAME=KEY or NAME=sha256:HEX, ...")
    api_keys_file: str = Field("", description="A file of such keys, one on each line.")

    max_upload_bytes: Bytes = Field(4 << 30, description="Largest checkpoint that is accepted.")
    min_free_bytes: Bytes = Field(256 << 20, description="Uploads are refused when less than this would stay free.")
    max_stored_bytes: Quota = Field(0, description="Uploads are refused when files would take more; 0 for no limit.")
    max_stored_bytes_per_key: Quota = Field(0, description="The same for the jobs of one API key.")
    max_active_jobs: int = Field(1000, ge=0, description="Uploads are refused while so many jobs wait or run.")
    max_active_jobs_per_key: int = Field(250, ge=0, description="The same for the jobs of one API key.")
    max_uploads: int = Field(64, ge=1, description="Uploads at the same time, in one API process.")
    max_uploads_per_client: int = Field(16, ge=1, description="The same for one API key, or one address without.")
    upload_idle_seconds: Seconds = Field(30, description="An upload ends when nothing of it comes for so long.")
    min_upload_bytes_per_second: Bytes = Field(10 << 10, description="An upload ends when it is slower on average.")
    max_connections: int = Field(1000, ge=1, description="Open connections of one API process.")
    max_connections_per_client: int = Field(250, ge=1, description="The same for one address.")
    header_seconds: Seconds = Field(15, description="A request's head must be complete after this time.")
    stall_seconds: Seconds = Field(30, description="A client that takes nothing of an answer for so long is dropped.")
    max_wait_seconds: Seconds = Field(300, description="Longest time that ?wait= and Prefer: wait= hold a request.")

    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    torch_threads: int = Field(0, ge=0, le=1024, description="Threads of one job; 0 for one per usable core.")
    job_timeout_seconds: Seconds = Field(1800, description="A job is killed after this time.")
    job_memory_bytes: Quota = Field(
        0, description="Memory that one job may use; 0 for four fifths of the machine's or container's."
    )
    job_device_memory_bytes: Quota = Field(
        0, description="GPU memory that one job may use; 0 for nine tenths of the device's."
    )
    sandbox: Literal["required", "available", "off"] = Field(
        "required",
        description="required: a worker starts only if the kernel confines its children. available: it starts, and "
        "confines them as far as the kernel can. off: it does not confine them.",
    )
    max_attempts: int = Field(3, ge=1, le=100, description="A job fails when this many of its attempts died.")
    # The whole stop is over before a container engine's 10 s are.
    drain_seconds: Seconds = Field(6, description="On SIGTERM a worker lets its job run on for this long.")

    allowed_globals: str = Field(
        "",
        description="Names of your own packages that a checkpoint may call when it is loaded, with commas between: "
        "my.package.Class, my.package.*; none by default.",
    )

    heartbeat_seconds: Seconds = Field(1, description="How often a worker says that it lives.")
    dead_after_seconds: Seconds = Field(5, description="A worker silent for this long is dead; its jobs go to others.")
    queue_poll_seconds: Seconds = Field(0.25, description="How often an idle worker looks for jobs.")

    retention: Seconds = Field(24 * 3600, description="Finished jobs and their files go after this time.")
    row_retention: Seconds = Field(30 * 86400, description="What is known of an expired job goes after this time.")
    sweep_seconds: Seconds = Field(60, description="How often retention is applied.")

    @field_validator("port", mode="before")
    @classmethod
    def _port_of_its_own(cls, value: Any) -> Any:
        """Kubernetes puts the address of a service that is called fusebox into a variable of this name."""
        of_service = isinstance(value, str) and ADDRESS_OF_SERVICE.match(value)
        return cls.model_fields["port"].default if of_service else value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
            raise ValueError("write auto, cpu, cuda or cuda:N")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not re.match(r"(sqlite|postgres|postgresql)(\+\w+)?://", value):
            raise ValueError("write sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")
        return value

    @field_validator("blob_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value and not re.match(r"(file:///|(s3|gs|az)://[^/]|memory:///)", value):
            raise ValueError("write file:///PATH, s3://BUCKET, gs://BUCKET or az://CONTAINER")
        return value

    @field_validator("allowed_globals")
    @classmethod
    def _known_names(cls, value: str) -> str:
        if not all(re.fullmatch(r"[^\W\d]\w*(\.\w+)*(\.\*|\.\w+)", part.strip()) for part in value.split(",") if value):
            raise ValueError("write names with their packages and commas between: my.package.Class, my.package.*")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        if "?" in str(value):
            raise ValueError("the path of a database can't have a question mark")
        return value.expanduser().absolute()

    @field_validator("public_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?", value):
            raise ValueError("write https://HOST, with a port and a path if there are any")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: str) -> str:
        if any(not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", name) for name in _listed(value)):
            raise ValueError("write host names without ports, with commas between them")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in _listed(value):
            try:
                ipaddress.ip_network(address)
            except ValueError:
                raise ValueError("write IP addresses or networks, with commas between them") from None
        return value

    @field_validator("api_keys")
    @classmethod
    def _well_formed_keys(cls, value: str) -> str:
        _digests(value)
        return value

    def given_keys(self) -> dict[str, str]:
        """Names and SHA-256 digests of the keys that the operator gives. Raises InvalidSettings."""
        try:
            listed = Path(self.api_keys_file).read_text(encoding="utf-8") if self.api_keys_file else ""
            return _digests(re.sub(r"#.*", "", listed)) | _digests(self.api_keys)
        except OSError as error:
            raise InvalidSettings(f"FUSEBOX_API_KEYS_FILE is '{self.api_keys_file}': {error.strerror}") from None
        except ValueError as error:
            raise InvalidSettings(f"FUSEBOX_API_KEYS_FILE is not valid: {error}") from None

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine reaches the API."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        """Where the API is reached, as far as we know."""
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"

    @property
    def keys_required(self) -> bool:
        given = bool(self.api_keys or self.api_keys_file)
        return self.auth == "required" or (self.auth == "auto" and (given or not self.on_loopback))

    @property
    def host_names(self) -> frozenset[str]:
        """The names that are answered, in small letters; none where nothing is said of them."""
        own = urlsplit(self.public_url).hostname
        return frozenset(name.lower() for name in [*_listed(self.allowed_hosts), *([own] if own else [])])

    @property
    def proxies(self) -> frozenset[str]:
        return frozenset(_listed(self.trusted_proxies))

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'fusebox.sqlite'}"

    @property
    def blobs(self) -> str:
        return self.blob_url or (self.data_dir / "blobs").as_uri()

    @property
    def allowed_names(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self.allowed_globals.split(",") if part.strip())

    @property
    def work_dir(self) -> Path:
        """Where job directories are made; on the same file system as local blobs, so that inputs can be hard links."""
        return self.data_dir / "jobs"


def read_settings(**given: Any) -> Settings:
    """Settings from the environment, overridden by what the command line gave. Raises InvalidSettings."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise InvalidSettings("\n".join(_sentence(problem) for problem in error.errors())) from None


def service_version() -> str:
    """Of the installed distribution."""
    try:
        return version("fusebox")
    except PackageNotFoundError:  # A checkout that was never installed.
        return "0"


def make_data_dir(settings: Settings) -> None:
    """Create the data directory where it is missing. Raises InvalidSettings."""
    place = settings.data_dir
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidSettings(f"FUSEBOX_DATA_DIR is '{place}': {error.strerror}") from None
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        user = f"{os.getuid()}:{os.getgid()}"
        raise InvalidSettings(
            f"FUSEBOX_DATA_DIR is '{place}': user {user} may not read and write it: chown -R {user} {place}"
        )


def _sentence(problem: Any) -> str:
    name = "_".join(str(part) for part in problem["loc"]).upper()
    reason = str(problem["msg"]).removeprefix("Value error, ")
    # URLs hold passwords, keys are some, and this goes to logs.
    value = "not valid" if name.endswith(("_URL", "_KEYS")) else repr(problem["input"])
    return f"FUSEBOX_{name} is {value}: {reason}"


def as_environment(settings: Settings) -> dict[str, str]:
    """The settings as variables for a child process of `serve`, so that every role reads the same ones."""
    return {f"FUSEBOX_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
