"""APIXO (https://apixo.ai/docs): tasks submitted, polled or called back in an envelope of code, message and data.

    wire.py         what travels: bodies, and the terms of a listing
    parameters.py   a submit's body into our own words, with the report of what was changed
    urls.py         which texts are URLs that can be fetched or called
    answers.py      everything that we answer, as bytes
    description.py  what our OpenAPI document says: the answers as types, the routes in words
    dialect.py      routes, credential, and the above put together
    listings.toml   what is offered; every point on which the vendor's pages disagree is a line there

The vendor's documentation has several generations that contradict each other, so each model is served as its own page
says: `seedream-5-0` by the older one, `seedream-4-5` by the newer one.
"""
