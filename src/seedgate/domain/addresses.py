"""Which addresses and URLs the gateway may call on a stranger's behalf.

`ipaddress.is_global` is no guard: it calls NAT64, 6to4, IPv4-compatible, multicast and some cloud metadata addresses
global, and its tables change between versions of Python. The table here lists what is refused for IPv4 and what is
allowed for IPv6. An IPv6 form that carries an IPv4 address inside it is never unwrapped, only refused.

URLs are refused rather than repaired: whatever two parsers might read in two ways does not pass, and what passes is
taken apart once, into a `Target`. The request is built from its parts, never from the text.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote

from seedgate.domain.errors import AddressRefused

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MAX_URL_BYTES = 2048
MAX_HOST_CHARS = 253
PUBLIC_PORTS = frozenset({80, 443})
DEFAULT_PORTS = {"http": 80, "https": 443}

_IPV4_REFUSED = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server: metadata behind a public address
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",  # holds Oracle's metadata address 192.0.0.192
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Not `is_loopback`, which in newer versions of Python is also true of ::ffff:127.0.0.1.
_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_IPV6_ALLOWED = IPv6Network("2000::/3")
_IPV6_REFUSED = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# ISATAP wraps an IPv4 address in the interface part, …:0:5efe:a.b.c.d, with two free bits in the first group.
_ISATAP_MASK, _ISATAP = 0xFCFF_FFFF, 0x0000_5EFE

# ASCII, because otherwise a long s would count as an s here.
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE | re.ASCII)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]%]+)(?::([1-9][0-9]{0,4}))?")
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
# A name whose last label looks like a number is an IPv4 address to inet_aton, hence to most resolvers.
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_PATH_SAFE = "/%:@!$&'()*+,;=~"
_QUERY_SAFE = _PATH_SAFE + "?[]"


def is_public(address: IPAddress) -> bool:
    """Whether the address is an ordinary one on the public internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _IPV4_REFUSED)
    if address.scope_id is not None or address not in _IPV6_ALLOWED:
        return False
    if (int(address) >> 32) & _ISATAP_MASK == _ISATAP:
        return False
    return not any(address in network for network in _IPV6_REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What one installation may call. The defaults are those of production."""

    allow_http: bool = False
    allow_loopback: bool = False
    """Development only: this machine may call itself, on any port."""
    trusted_networks: tuple[IPNetwork, ...] = ()
    """Intranet ranges that the operator opened by name, on any port."""
    own_hosts: frozenset[str] = frozenset()
    """Lower-case public names of this installation, which must not call itself."""

    def permits(self, address: IPAddress, port: int) -> bool:
        """Whether a connection may be opened. The ordinary ports on public addresses, any port on trusted ones."""
        opened = self.trusted_networks + (_LOOPBACK if self.allow_loopback else ())
        if any(address in network for network in opened):
            return True
        return port in PUBLIC_PORTS and is_public(address)

    def permits_target(self, target: "Target") -> bool:
        """Whether the URL may be called as far as its text tells; a name's addresses are still to be checked."""
        if target.scheme == "http" and not self.allow_http:
            return False
        if target.host in self.own_hosts:
            return False
        return target.address is None or self.permits(target.address, target.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL taken apart; every part is ASCII and ready to be sent."""

    scheme: str
    host: str
    """Lower-case name in its ASCII form, or an address in its canonical spelling without brackets."""
    port: int
    path: str
    query: str
    address: IPAddress | None
    """Set where the host is an address."""

    @property
    def url(self) -> str:
        """The canonical spelling."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}" + (f"?{self.query}" if self.query else "")


def check_text(text: str) -> None:
    """Raise `AddressRefused` for what parsers are known to drop, fold or read in two ways."""
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise AddressRefused from None
    if size_bytes > MAX_URL_BYTES or "\\" in text or any(unicodedata.category(char)[0] in "CZ" for char in text):
        raise AddressRefused


def parse_url(text: str, *, to_ascii: Callable[[str], str]) -> Target:
    """The parts of an absolute http or https URL; a fragment is dropped. Raises `AddressRefused`.

    `to_ascii` turns an international name into its ASCII form and raises `ValueError` for one that has none.
    """
    check_text(text)
    match = _URL.fullmatch(text)
    # Some parsers let the authority end at the first slash only, so `host?@other` and `host#@other` are two-faced too.
    if match is None or "@" in text.partition("://")[2].partition("/")[0]:
        raise AddressRefused
    scheme, authority, path, query = match[1].lower(), match[2], match[3], match[4] or ""
    host, port = _authority(authority, DEFAULT_PORTS[scheme])
    name, address = _host(host, to_ascii)
    return Target(
        scheme=scheme,
        host=name,
        port=port,
        path=quote(path or "/", safe=_PATH_SAFE),
        query=quote(query, safe=_QUERY_SAFE),
        address=address,
    )


def _authority(text: str, default_port: int) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(text)
    port = int(match[2] or default_port) if match else 0
    if match is None or not 0 < port < 65536:
        raise AddressRefused
    return match[1], port


def _host(text: str, to_ascii: Callable[[str], str]) -> tuple[str, IPAddress | None]:
    try:
        if text.startswith("["):
            address: IPAddress = IPv6Address(text[1:-1])
            return str(address), address
        host = text.lower() if text.isascii() else to_ascii(text.lower())
        if _NUMERIC_END.fullmatch(host):
            # Only the plain spelling, and never one that became an address by folding wide digits or dots.
            address = ip_address(text)
            return str(address), address
    except ValueError:
        raise AddressRefused from None
    if len(host) > MAX_HOST_CHARS or not _NAME.fullmatch(host):
        raise AddressRefused
    return host, None
