"""Settings: one typed schema, read once at start. `settings.default.toml` is the documentation and the defaults."""

import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

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
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from seedgate.domain.errors import BadSettings

USUAL_NAMES = {"database_url": "DATABASE_URL", "blobs_url": "BLOBS_URL"}
"""What platforms call a setting in the environment; SEEDGATE_… goes before it, and may be empty to say no."""


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


class Settings(BaseSettings):
    """Everything that can be set. Every field has its default, and its documentation, in the default file."""

    model_config = SettingsConfigDict(
        env_prefix="SEEDGATE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    mode: Literal["development", "production"]
    host: str
    port: int = Field(ge=0, le=65_535)
    data: Path
    database_url: SecretStr
    blobs_url: str
    public_url: str
    files_url: str
    metrics: Literal["loopback", "everybody", "nobody"]
    trusted_proxies: list[IPvAnyNetwork]
    secret_key: SecretStr
    secret_key_file: str
    log_level: Literal["debug", "info", "warning", "error"]
    limits: Limits
    work: Work
    results: Results
    retention: Retention
    development: Development

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
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadSettings(
            f"The setting {name!r} is wrong: {first['msg']}",
            hint="settings.default.toml documents every setting and its form.",
        ) from None


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
