"""What is offered, and what holds: the vendors that speak, their listings, and the configuration over the settings."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence

from seedgate import vendors
from seedgate.accounts.configuration import Live
from seedgate.catalogue.load import Catalogue
from seedgate.catalogue.load import load as load_catalogue
from seedgate.compose.ground import Ground
from seedgate.dialect import Dialect
from seedgate.domain.configuration import Configuration, Limits
from seedgate.domain.errors import BadSettings
from seedgate.domain.listing import Listing
from seedgate.interface import Interface
from seedgate.settings import Settings
from seedgate.web.openapi import describe
from seedgate.web.own import description


def dialects(catalogue: Catalogue) -> list[Dialect]:
    """Every vendor folder that speaks: `vendors/<name>/dialect.py` with `build`."""
    found = []
    for module in pkgutil.iter_modules(vendors.__path__):
        name = f"{vendors.__name__}.{module.name}.dialect"
        if module.ispkg and importlib.util.find_spec(name) is not None:
            build: Callable[..., Dialect] = importlib.import_module(name).build
            if module.name not in catalogue.listings:
                hint = f"Write vendors/{module.name}/listings.toml."
                raise BadSettings(f"The vendor {module.name} has a dialect and no listings", hint=hint)
            found.append(build(catalogue.listings[module.name]))
    return found


def interfaces(spoken: Sequence[Dialect]) -> dict[str, Interface]:
    """Everything that has a document, by its name."""
    return {dialect.name: describe(dialect) for dialect in spoken} | {"seedgate": description.describe()}


async def read_configuration(ground: Ground) -> Configuration:
    """What holds now, for a command that asks once."""
    live = Live(ground.database, configured_limits(ground.settings))
    await live.refresh()
    return live.current


def listings() -> list[Listing]:
    """What is offered, in the newest version of each."""
    return [listing for vendor in load_catalogue().listings.values() for listing in vendor.newest.values()]


def listing_ids() -> list[str]:
    """The ids of what is offered."""
    return [listing.id for listing in listings()]


def configured_limits(settings: Settings) -> Limits:
    """What the settings say of limits, before anything is configured."""
    said = settings.limits
    return Limits(
        submits_per_minute=said.submits_per_minute,
        concurrent_tasks=said.concurrent_tasks,
        polls_per_minute=said.polls_per_minute,
        refusals_per_second=said.refusals_per_second,
        max_waiting=said.max_waiting,
        max_waiting_per_account=said.max_waiting_per_account,
    )
