"""What the server is told: an optional YAML file, over it the environment (`RUICHAT_SERVE_*`)."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator

from ruichat.config import read_yaml
from ruichat.serve.engine.settings import EngineSettings

PREFIX = "RUICHAT_SERVE_"

LISTS = ("slide_folders", "trusted_proxies")
"""Fields whose variable holds several values, separated as in PATH."""


def default_data_dir() -> Path:
    """Where a user's programs keep their data on this system."""
    return Path(platformdirs.user_data_dir("ruichat"))


class ServeSettings(EngineSettings):
    """Everything that an operator can choose about the server."""

    host: str = "127.0.0.1"
    """Address to listen on; only the machine itself reaches the default."""
    port: int = Field(7860, ge=0, le=65535)
    """TCP port; 0 lets the system choose one, which is printed."""
    public_url: str = ""
    """Address that browsers use where a proxy stands before the server, for example
    https://ruichat.hospital.example; empty: the one that the server listens on."""
    trusted_proxies: tuple[str, ...] = ()
    """IP addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are
    believed."""
    data_dir: Path = Field(default_factory=default_data_dir)
    """Folder of the database, of uploaded slides and of pictures of overlays."""
    database_url: SecretStr = SecretStr("")
    """SQLAlchemy URL, for example postgresql+pg8000://ruichat:…@db/ruichat; empty: SQLite in
    `data_dir`."""
    slide_folders: tuple[Path, ...] = ()
    """Folders whose slides may be added to cases; nothing outside them and `data_dir` is read."""
    max_upload_gb: float = Field(20.0, gt=0)
    """Largest slide file that may be sent, gigabytes (10^9 bytes)."""
    max_body_mb: float = Field(16.0, gt=0)
    """Largest body of any other request, megabytes (10^6 bytes)."""
    language: Literal["zh", "en"] = "en"
    """Of pages before a person has chosen one."""
    single_user: bool | None = None
    """One built-in user without a login; refused off loopback. None: on where the server
    listens on loopback and has no users."""
    session_hours: float = Field(12.0, gt=0)
    """How long a login lasts, hours."""
    login_failures: int = Field(10, ge=1)
    """Wrong passwords allowed per address in a quarter of an hour; per name, from all addresses,
    ten times as many."""
    requests_per_minute: int = Field(600, ge=1)
    """Requests allowed per user and minute; tiles and files of the page don't count."""
    log_requests: bool | None = None
    """Whether each request is a line in the log; empty: unless in single-user mode."""
    metrics_token: SecretStr = SecretStr("")
    """Bearer token for /metrics; empty: for admins, and for whoever works on the machine where
    the server is there for it alone."""
    oidc_issuer: str = ""
    """Issuer of the hospital's OpenID Connect provider; empty: passwords only."""
    oidc_client_id: str = ""
    """Name under which the provider knows this server."""
    oidc_client_secret: SecretStr = SecretStr("")
    """Secret that the provider gave this server."""
    oidc_role_claim: str = "ruichat_role"
    """Claim of the ID token that names the role; without it a new person is a reader."""

    @field_validator("public_url", "oidc_issuer")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.netloc or parts.query):
            raise ValueError(f"{value!r} is no http or https address")
        return value.rstrip("/")

    @field_validator("slide_folders")
    @classmethod
    def _are_folders(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        for folder in folders:
            if not folder.is_absolute() or not folder.is_dir():
                raise ValueError(f"{str(folder)!r} is no folder; give absolute paths of folders")
        return folders

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(
                    f"{proxy!r} is no IP address; IPv6 ones go into the YAML file, since a "
                    "variable is split at each colon"
                ) from None
        return proxies

    @model_validator(mode="after")
    def _fits_together(self) -> ServeSettings:
        if self.single_user and not self.on_loopback:
            raise ValueError(
                f"single_user needs a loopback host, not {self.host!r}: it lets in whoever comes"
            )
        if self.oidc_issuer and not (self.oidc_client_id and self.public_url):
            raise ValueError("oidc_issuer needs oidc_client_id and public_url beside it")
        return self

    @property
    def on_loopback(self) -> bool:
        """Whether only the machine itself can reach the server."""
        return is_loopback(self.host) and not self.public_url

    @property
    def secure_cookies(self) -> bool:
        """Whether browsers may send cookies over TLS only: wherever they come through TLS."""
        return self.public_url.startswith("https://")

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request that isn't an upload, bytes."""
        return round(self.max_body_mb * 1e6)

    @property
    def max_upload_bytes(self) -> int:
        """Largest slide file that may be sent, bytes."""
        return round(self.max_upload_gb * 1e9)

    @property
    def database_address(self) -> str:
        """The SQLAlchemy URL, with its password."""
        given = self.database_url.get_secret_value()
        return given or f"sqlite:///{self.data_dir / 'ruichat.db'}"

    @classmethod
    def read(
        cls, path: Path | None = None, *, environment: Mapping[str, str] = os.environ, **given: Any
    ) -> ServeSettings:
        """Settings of a file, over them the environment, over both what the caller gives.

        Args:
            path: of a YAML file.
            environment: variables; those that begin with RUICHAT_SERVE_ must name a field.
            given: by field; None counts as not given.

        Raises:
            ConfigError: a field is unknown or wrong, or the file can't be read.
        """
        values = read_yaml(path) if path is not None else {}
        values |= from_environment(environment)
        values |= {name: value for name, value in given.items() if value is not None}
        return cls.checked(
            values,
            source=f"{PREFIX}* or {path.name}" if path is not None else f"{PREFIX}*",
            hint="docs/operator.md lists the settings",
        )


def from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Values by field, as the variables give them."""
    values: dict[str, Any] = {}
    for variable, value in environment.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            values[name] = [item for item in value.split(os.pathsep) if item]
            if name not in LISTS:
                values[name] = value
    return values


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address, without port, is the machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
