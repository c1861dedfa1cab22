"""Settings: one typed schema, read once at start. `settings.default.toml` is the documentation and the defaults."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from seedgate.domain.errors import BadSettings
from seedgate.domain.money import micros

USUAL_NAMES = {"database_url": "DATABASE_URL", "blobs_url": "BLOBS_URL"}
"""What platforms call a setting in the environment; SEEDGATE_… goes before it, and may be empty to say no."""
PREFIX = "SEEDGATE_"
OF_COMMANDS = frozenset({"SEEDGATE_CONFIG", "SEEDGATE_URL", "SEEDGATE_API_KEY"})
"""Variables that options are read from, and no settings."""
_HINT = "settings.default.toml documents every setting and its form."


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Part):
    """What is let in."""

    submits_per_minute: int = Field(ge=0, le=60_000_000)
    concurrent_tasks: int = Field(ge=0, le=1_000_000_000)
    polls_per_minute: int = Field(ge=0, le=60_000_000)
    refusals_per_second: int = Field(ge=0, le=60_000_000)
    max_waiting: int = Field(ge=0, le=1_000_000_000)
    max_waiting_per_account: int = Field(ge=0, le=1_000_000_000)
    body_bytes: int = Field(ge=1024, le=1 << 24)
    image_body_bytes: int = Field(ge=1024, le=1 << 28)
    head_s: float = Field(gt=0)
    body_s: float = Field(gt=0)
    head_bytes: int = Field(ge=1024, le=1 << 20)
    stall_s: float = Field(gt=0)
    connections: int = Field(ge=1)
    files_per_account: int = Field(ge=0, le=100_000)
    file_bytes_per_account: int = Field(ge=0)
    keys_per_account: int = Field(ge=0, le=100_000)
    connections_per_address: int = Field(ge=0)
    connections_from_loopback: int = Field(ge=0)


class Work(_Part):
    """How tasks are done."""

    engine: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    engine_processes: int = Field(ge=0, le=256)
    deadline_s: int = Field(ge=1, le=86_400)
    engine_job_s: float = Field(gt=0)


class Results(_Part):
    """How long results and uploads are kept."""

    days: int = Field(ge=1, le=3650)
    file_days: int = Field(ge=1, le=3650)


class Retention(_Part):
    """How long tasks are kept, and what callers wrote into them."""

    task_days: int = Field(ge=7, le=36_500)
    prompt_days: int = Field(ge=0, le=36_500)


class Development(_Part):
    """What development mode starts with."""

    credit: str

    @field_validator("credit")
    @classmethod
    def _is_an_amount(cls, credit: str) -> str:
        micros(credit)
        return credit


class Settings(BaseSettings):
    """Everything that can be set. Every field has its default, and its documentation, in the default file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    mode: Literal["development", "production"]
    host: str = Field(min_length=1)
    port: int = Field(ge=0, le=65_535)
    data: Path
    database_url: SecretStr
    blobs_url: str
    public_url: str
    files_url: str
    metrics: Literal["loopback", "everybody", "nobody"]
    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode]
    secret_key: SecretStr
    secret_key_file: str
    log_level: Literal["debug", "info", "warning", "error"]
    limits: Limits
    work: Work
    results: Results
    retention: Retention
    development: Development

    @field_validator("data", mode="before")
    @classmethod
    def _data_is_named(cls, data: object) -> object:
        if data == "":
            raise ValueError("it is empty; a dot is the current folder")
        return data

    @field_validator("public_url", "files_url")
    @classmethod
    def _is_a_base(cls, url: str) -> str:
        if url and not _is_base(url):
            raise ValueError("it is no address such as https://images.example.com, without user, query and fragment")
        return url

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        """From the environment JSON, or networks with commas between them."""
        if not isinstance(given, str):
            return given
        if given.lstrip().startswith("["):
            try:
                return json.loads(given)
            except ValueError:
                raise ValueError("it is no JSON") from None
        return [part.strip() for part in given.split(",") if part.strip()]

    @field_validator("retention")
    @classmethod
    def _tasks_last_longest(cls, retention: Retention, info: ValidationInfo) -> Retention:
        results: Results | None = info.data.get("results")
        if results is not None and retention.task_days < max(results.days, retention.prompt_days):
            raise ValueError("task_days must be at least results.days and at least prompt_days")
        return retention

    @property
    def prompt_days(self) -> int:
        """Days until an ended task's prompt goes."""
        return self.retention.prompt_days or self.results.days

    @property
    def production(self) -> bool:
        """Whether strangers' money and addresses are at stake."""
        return self.mode == "production"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before everything that `load` read from files; no .env file is looked for."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (env_settings, init_settings)


def load(config: Path | None = None, **flags: Any) -> Settings:
    """Defaults, then the file, then the environment, then the flags that are not None.

    Raises BadSettings that names the setting, and for a file where it is.
    """
    values = tomllib.loads(resources.files("seedgate").joinpath("settings.default.toml").read_text(encoding="utf-8"))
    if config is not None:
        values = _merge(values, _read(config))
    values |= {name: os.environ[usual] for name, usual in USUAL_NAMES.items() if os.environ.get(usual)}
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**values)
        return settings.model_copy(update=_checked(settings, given)) if given else settings
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise BadSettings(f"The setting {name!r} is wrong: {why}", hint=_HINT) from None
    except SettingsError as error:
        named = re.search(r'field "(\w+)"', str(error))
        raise BadSettings(f"The setting {named[1] if named else ''!r} is wrong: it is no JSON", hint=_HINT) from None


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names in the environment that look like settings of ours and are none; those below a part are refused by it."""
    names = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    parts = tuple(
        f"{PREFIX}{name}__".upper()
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Part)
    )
    return sorted(
        name
        for name in environment
        if (known := name.upper()).startswith(PREFIX)
        and known not in names | OF_COMMANDS
        and not known.startswith(parts)
    )


def _is_base(url: str) -> bool:
    """Whether addresses can be built on it."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0
    except ValueError:
        return False
    plain = url.isprintable() and not any(sign in url for sign in " ?#\\") and "@" not in parts.netloc
    return named and plain and parts.scheme in {"http", "https"}


def _checked(settings: Settings, given: dict[str, Any]) -> dict[str, Any]:
    values = settings.model_dump() | given
    checked = Settings.model_validate(values)
    return {name: getattr(checked, name) for name in given}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(
            f"The settings file {path} cannot be read: {error.strerror}", hint="Check --config."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"The settings file {path} is not valid TOML: {error}", hint="Check --config.") from None


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
