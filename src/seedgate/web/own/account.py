"""The account's money, and what it can buy."""

from collections.abc import Mapping

from seedgate.dialect import Listings
from seedgate.domain.configuration import Configuration, Price
from seedgate.domain.listing import Listing
from seedgate.store.funds import read_funds
from seedgate.web.own import wire
from seedgate.web.own.door import Asked, House

CURRENCY = "USD"


async def show_balance(house: House, asked: Asked) -> wire.Balance:
    """What the account can spend."""
    funds = await read_funds(house.database, asked.caller.account_id)
    return wire.Balance(
        currency=CURRENCY,
        mode=funds.mode,
        available=wire.Money.of(funds.avail_micros),
        held=wire.Money.of(funds.held_micros),
        open_tasks=funds.open_holds,
    )


async def list_models(house: House, asked: Asked) -> wire.Models:
    """What is offered, in every dialect."""
    del asked
    return models(house.listings, house.configuration())


def models(listings: Mapping[str, Listings], now: Configuration) -> wire.Models:
    """The whole offer, by vendor, at today's prices: the newest version of each listing that takes submits now."""
    return wire.Models(
        currency=CURRENCY,
        dialects=[
            wire.DialectLine(
                dialect=vendor,
                listings=[_listing(each, now.price(each)) for each in offers.newest.values() if now.offers(each)],
            )
            for vendor, offers in sorted(listings.items())
        ],
    )


def _listing(listing: Listing, price: Price) -> wire.ListingLine:
    model = listing.model
    return wire.ListingLine(
        name=listing.name,
        version=listing.version,
        model=model.id,
        title=model.title,
        price=wire.Money.of(price.micros),
        formats=list(model.formats),
        limits=wire.Limits(
            max_references=model.max_references,
            max_pictures_and_references=model.max_pictures_and_references,
            min_pixels=model.bounds.min_pixels,
            max_pixels=model.bounds.max_pixels,
            max_aspect=model.bounds.max_aspect,
        ),
        sizes={
            tier: {ratio: str(size) for ratio, size in ratios.items()} for tier, ratios in model.sizes.tiers.items()
        },
        typical_s=dict(listing.typical_s),
    )
