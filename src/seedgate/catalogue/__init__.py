"""What can be drawn and what is offered, as data: `models/*.toml` here, `listings.toml` in every vendor's folder.

    models/<id>.toml              a model: its bounds, size table, formats                     Model
    ../vendors/<name>/listings.toml    what that vendor's callers find: name, price, terms     Listing

A new reading of a vendor's page is a new version of its listing: tasks keep the version that they were accepted under.
"""
