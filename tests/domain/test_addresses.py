"""The address table and the reading of URLs."""

import importlib.util
import json
import socket
import unicodedata
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from seedgate.domain.addresses import Policy, is_public, parse_url
from seedgate.domain.errors import AddressRefused
from seedgate.names import to_ascii

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests/fixtures/address_vectors.json"
VECTORS = json.loads(FILE.read_text(encoding="ascii"))
PRODUCTION = Policy()


def parse(url):
    return parse_url(url, to_ascii=to_ascii)


def allowed(url, answers, policy=PRODUCTION):
    try:
        target = parse(url)
    except AddressRefused:
        return False
    if not policy.permits_target(target):
        return False
    addresses = [target.address] if target.address else [ip_address(text) for text in answers]
    return all(policy.permits(address, target.port) for address in addresses)


# If this fails, somebody edited the vectors by hand and the next run of the script would undo it.
def test_the_vectors_are_what_the_script_makes():
    spec = importlib.util.spec_from_file_location("make_address_vectors", ROOT / "tools/make_address_vectors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.render() == FILE.read_text(encoding="ascii")


# If this fails, a stranger can make the gateway call a machine inside, or honest addresses no longer work.
def test_every_vector_holds():
    wrong = [v for v in VECTORS if allowed(v["url"], v["answers"]) != (v["verdict"] == "allowed")]
    assert wrong == []


def test_there_are_enough_vectors_of_both_kinds():
    count = Counter(vector["verdict"] for vector in VECTORS)
    assert count["denied"] >= 200
    assert count["allowed"] >= 40


# The spelling's own number decides: whatever the C library reads as an address is refused unless it is spelt plainly.
@given(st.text(alphabet="0123456789abcdefxX.", min_size=1, max_size=20))
def test_what_inet_aton_reads_is_plain_or_refused(host):
    try:
        socket.inet_aton(host)
    except OSError:
        return
    try:
        target = parse(f"https://{host}/")
    except AddressRefused:
        return
    assert target.address == IPv4Address(host)
    assert target.host == host


# If this fails, our reading of the host and another parser's differ, and one of the two is checked while the other is called.
@given(st.text(alphabet="ab1./:@#?\\[]%\t\n\u3002\uff11", max_size=24))
def test_a_url_that_passes_has_one_reading(rest):
    url = f"https://{rest}"
    try:
        target = parse(url)
    except AddressRefused:
        return
    other = urlsplit(url)
    assert (other.hostname, other.port or 443) == (target.host, target.port)
    assert other.username is None
    assert parse(target.url) == target
    called = URL(target.url, encoded=True)  # what the client is given
    assert (called.host, called.port, called.raw_path_qs) == (
        target.host,
        target.port,
        target.path + (f"?{target.query}" if target.query else ""),
    )


@given(st.integers(0, 2**32 - 1))
def test_no_ipv6_form_of_an_ipv4_address_is_public(number):
    for carrier in (number, 0xFFFF << 32 | number, 0x64FF9B << 96 | number, (0x2002 << 112) | (number << 80)):
        assert not is_public(IPv6Address(carrier))


@given(st.integers(0, 2**64 - 1), st.integers(0, 3))
def test_isatap_is_refused_in_every_network(network, free_bits):
    inside = (free_bits << 56) | (0x5EFE << 32) | 0x7F000001
    assert not is_public(IPv6Address((network << 64) | inside))


# Even with an encoder that folds, as many do, an address must be spelt plainly in the first place.
@pytest.mark.parametrize("host", ["９３.184.215.14", "93。184.215.14"])
def test_folded_addresses_are_refused(host):
    def fold(text):
        return unicodedata.normalize("NFKC", text).replace("。", ".")

    with pytest.raises(AddressRefused):
        parse_url(f"https://{host}/", to_ascii=fold)
    assert parse_url("https://ｅxample.com/", to_ascii=fold).host == "example.com"


def test_the_parts_are_ready_to_send():
    target = parse("HTTPS://Bücher.Example:8443/ä b".replace(" ", "%20") + "?sig=%2F%2B&q=ü#frag")
    assert target.url == "https://xn--bcher-kva.example:8443/%C3%A4%20b?sig=%2F%2B&q=%C3%BC"
    assert parse("https://[2606:4700:4700:0::1111]").url == "https://[2606:4700:4700::1111]/"


class TestPolicy:
    def test_development_may_call_itself_on_any_port_and_nothing_else(self):
        policy = Policy(allow_loopback=True)
        assert policy.permits(ip_address("127.0.0.1"), 5000)
        assert policy.permits(ip_address("::1"), 5000)
        assert not policy.permits(ip_address("::ffff:127.0.0.1"), 5000)
        assert not policy.permits(ip_address("10.0.0.1"), 443)

    def test_a_trusted_network_is_open_and_its_neighbours_are_not(self):
        policy = Policy(trusted_networks=(ip_network("10.1.0.0/16"), ip_network("fd00:1::/64")))
        assert policy.permits(ip_address("10.1.2.3"), 8188)
        assert policy.permits(ip_address("fd00:1::5"), 80)
        assert not policy.permits(ip_address("10.2.0.1"), 443)
        assert not policy.permits(ip_address("::ffff:10.1.2.3"), 443)
        assert not policy.permits(ip_address("127.0.0.1"), 443)

    @pytest.mark.parametrize(("port", "permitted"), [(80, True), (443, True), (22, False), (8080, False)])
    def test_public_addresses_answer_on_the_ordinary_ports(self, port, permitted):
        assert PRODUCTION.permits(ip_address("93.184.215.14"), port) is permitted

    def test_its_own_names_are_refused_in_any_case(self):
        policy = Policy(own_hosts=frozenset({"img.example.com"}))
        assert not policy.permits_target(parse("https://IMG.example.com/x"))
        assert policy.permits_target(parse("https://img2.example.com/x"))

    def test_plain_http_must_be_allowed(self):
        assert not PRODUCTION.permits_target(parse("http://example.com/"))
        assert Policy(allow_http=True).permits_target(parse("http://example.com/"))
