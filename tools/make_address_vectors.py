"""Write tests/fixtures/address_vectors.json: spellings of addresses, and what must become of each.

    python tools/make_address_vectors.py [FILE]

The verdicts come from the lists below, written by hand after the registries of IANA and the clouds' documentation, not
from the code that they test; this script imports none of it.
"""

import json
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

TARGET = Path(__file__).parent.parent / "tests/fixtures/address_vectors.json"

DENIED_IPV4 = {
    "this-network": ["0.0.0.0", "0.0.0.1", "0.255.255.255"],
    "private-10": ["10.0.0.0", "10.0.0.1", "10.255.255.255"],
    "carrier-nat": ["100.64.0.1", "100.100.100.200", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.0.0.2", "127.255.255.254"],
    "link-local": ["169.254.0.1", "169.254.169.254", "169.254.170.2"],
    "azure-wire-server": ["168.63.129.16"],
    "private-172": ["172.16.0.1", "172.17.0.1", "172.31.255.255"],
    "protocol-assignments": ["192.0.0.1", "192.0.0.170", "192.0.0.192"],
    "documentation": ["192.0.2.1", "198.51.100.7", "203.0.113.9"],
    "6to4-relay": ["192.88.99.1"],
    "private-192": ["192.168.0.1", "192.168.1.254", "192.168.255.255"],
    "benchmarking": ["198.18.0.1", "198.19.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.250"],
    "reserved": ["240.0.0.1", "255.255.255.255"],
}
# The first and last address beside each refused range, so that a table that is too wide is noticed as well.
ALLOWED_IPV4 = [
    "1.0.0.0",
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
]
DENIED_IPV6 = {
    "unspecified": ["::"],
    "loopback": ["::1", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001"],
    "discard": ["100::1"],
    "nat64-local": ["64:ff9b:1::7f00:1", "64:ff9b:1:ffff::1"],
    "teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "orchid": ["2001:10::1", "2001:20::1", "2001:2f:ffff::1"],
    "benchmarking": ["2001:2::1"],
    "protocol-assignments": ["2001:1::1", "2001:1ff:ffff::1"],
    "documentation": ["2001:db8::1", "2001:db8:ffff::1", "3fff::1", "3fff:fff::1"],
    "6to4": ["2002::1", "2002:ffff:ffff::1"],
    "segment-routing": ["5f00::1"],
    "unique-local": ["fc00::1", "fd00::1", "fd00:ec2::254", "fd20:ce::254", "fdff:ffff::1"],
    "link-local": ["fe80::1", "fe80::a9fe:a9fe", "febf::1"],
    "site-local": ["fec0::1", "feff::1"],
    "multicast": ["ff02::1", "ff0e::1", "ff02::fb"],
    "unassigned": ["4000::1", "8000::1", "e000::1"],
    "isatap": [
        "2600:1f00::5efe:7f00:1",
        "2600:1f00::5efe:127.0.0.1",
        "2600:1f00::200:5efe:10.0.0.1",
        "2600:1f00::300:5efe:8.8.8.8",
    ],
}
ALLOWED_IPV6 = [
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2001:db7:ffff::1",
    "2001:db9::1",
    "2003::1",
    "2400:cb00::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "2a01:4f8::1",
    "3ffe:ffff::1",
    "2600:1f00::5eff:1:1",
]
# One of each for the forms that carry an IPv4 address inside them.
EMBEDDED_IPV4 = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.254", "8.8.8.8"]
WIDE_DIGITS = str.maketrans("0123456789", "０１２３４５６７８９")
CIRCLED_DIGITS = str.maketrans("123456789", "①②③④⑤⑥⑦⑧⑨")

# Whole URLs that parsers are known to read differently; the right answer is not to read them.
DENIED_URLS = {
    "backslash": ["https://127.0.0.1\\@example.com/", "https://example.com\\@127.0.0.1/", "https:\\\\example.com/"],
    "userinfo": ["https://user@example.com/", "https://user:pass@example.com/", "https://example.com@127.0.0.1/"],
    "late-at": [
        "https://example.com#@127.0.0.1/",
        "https://example.com?@127.0.0.1/",
        "https://127.0.0.1#@example.com/",
    ],
    "whitespace": [
        "https://example.com /",
        " https://example.com/",
        "https://example.com/\u00a0",
        "https://exa\u3000mple.com/",
    ],
    "control": [
        "https://exam\tple.com/",
        "https://example.com/\r\nHost: x",
        "https://127.0.0.1\n.example.com/",
        "https://example.com\u0000.evil.example/",
        "https://example.com/\u007f",
        "https://exam\u200bple.com/",
        "https://example.com/\u202e",
        "https://exam\u00adple.com/",
    ],
    "port": [
        "https://example.com:80:443/",
        "https://example.com:443:/",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:-443/",
        "https://example.com:0443/",
        "https://example.com:４４３/",
        "https://example.com:22/",
        "https://8.8.8.8:6379/",
        "https://8.8.8.8:8080/",
        "https://[2606:4700:4700::1111]:25/",
    ],
    "trailing-dot": ["https://example.com./", "https://127.0.0.1./", "https://localhost../"],
    "empty-label": ["https://example..com/", "https://.example.com/", "https:///example.com/", "https://:443/"],
    "percent-host": ["https://%31%32%37.0.0.1/", "https://example%2ecom/", "https://127.0.0.1%23.example.com/"],
    "brackets": [
        "https://[::1/",
        "https://::1/",
        "https://[127.0.0.1]/",
        "https://[::1]x/",
        "https://[fe80::1%25eth0]/",
    ],
    "scheme": [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "data:image/png;base64,AAAA",
        "//example.com/",
        "example.com/x.png",
        "https:/example.com/",
        "https:example.com",
        "httpſ://example.com/",
        "jar:https://example.com/",
        "",
        "https://",
    ],
    "downgraded": ["http://example.com/", "http://8.8.8.8/"],
    "length": ["https://example.com/" + "a" * 2029, "https://example.com/" + "é" * 1015],
    "label": [
        "https://-example.com/",
        "https://" + "a" * 64 + ".com/",
        "https://exa$mple.com/",
        "https://exam<ple.com/",
    ],
    "unicode-host": [
        "https://ⓔxample.com/",
        "https://ｅxample.com/",
        "https://example。com/",
        "https://exam\ud800ple.com/",
    ],
}
ALLOWED_URLS = {
    "plain": ["https://example.com/", "https://example.com", "HTTPS://EXAMPLE.COM/A.png", "https://example.com:443/x"],
    "path": [
        "https://example.com/a@b.png",
        "https://example.com/a%20b/ü.png?X-Sig=%2F%2B&e=1#part",
        "https://example.com/?q",
    ],
    "length": ["https://example.com/" + "a" * 2028],
    "name": [
        "https://my_bucket.example.com/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "https://0x7f.example/",
    ],
}
PUBLIC_ANSWERS = ["93.184.215.14"]
DENIED_ANSWERS = {
    "one-bad-answer": [["93.184.215.14", "127.0.0.1"], ["10.0.0.1", "93.184.215.14"], ["2606:4700:4700::1111", "::1"]],
    "only-bad-answers": [
        ["169.254.169.254"],
        ["fd00:ec2::254"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::a00:1"],
        ["fe80::1%1"],
    ],
}


def ipv4_spellings(text: str) -> Iterator[tuple[str, str]]:
    """Ways to write an IPv4 address that some resolver or parser accepts, with a name for each."""
    number = int(IPv4Address(text))
    a, b, c, d = (int(part) for part in text.split("."))
    yield "dotted", text
    yield "decimal", str(number)
    yield "hexadecimal", hex(number)
    yield "hexadecimal-capitals", f"0X{number:08X}"
    yield "octal", f"0{number:o}"
    yield "octal-parts", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}"
    yield "hexadecimal-parts", f"{a:#x}.{b:#x}.{c:#x}.{d:#x}"
    yield "padded-parts", f"{a:03}.{b:03}.{c:03}.{d:03}"
    yield "mixed-parts", f"{a:#x}.{b}.0{c:o}.{d}"
    yield "three-parts", f"{a}.{b}.{c * 256 + d}"
    yield "two-parts", f"{a}.{number & 0xFFFFFF}"
    yield "overflowing", str(number + (1 << 32))
    yield "full-width-digits", text.translate(WIDE_DIGITS)
    yield "circled-digits", text.translate(CIRCLED_DIGITS)
    yield "ideographic-dots", text.replace(".", "。")
    yield "full-width-dots", text.replace(".", "．")
    yield "trailing-dot", text + "."


def carriers(text: str) -> Iterator[tuple[str, str]]:
    """IPv6 forms that carry an IPv4 address."""
    number = int(IPv4Address(text))
    yield "mapped", f"::ffff:{text}"
    yield "mapped-hexadecimal", str(IPv6Address((0xFFFF << 32) | number))
    yield "compatible", f"::{text}"
    yield "translated", f"::ffff:0:{text}"
    yield "nat64", f"64:ff9b::{text}"
    yield "6to4", f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1"
    yield "teredo", str(IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)))
    yield "isatap", f"fe80::5efe:{text}"
    yield "isatap-public", f"2600:1f00::200:5efe:{text}"


def vectors() -> Iterator[dict[str, object]]:
    """All of them, in the order of the file."""
    yield from _ipv4()
    yield from _ipv6()
    for verdict, urls in (("denied", DENIED_URLS), ("allowed", ALLOWED_URLS)):
        for category, spellings in urls.items():
            for url in spellings:
                yield _vector(url, verdict, "url", category)
    for category, sets in DENIED_ANSWERS.items():
        for answers in sets:
            yield _vector("https://images.example/", "denied", "name", category, answers)
    yield _vector("https://images.example/", "allowed", "name", "public", ["93.184.215.14", "2606:4700:4700::1111"])


def _ipv4() -> Iterator[dict[str, object]]:
    for category, addresses in DENIED_IPV4.items():
        for text in addresses:
            yield _vector(f"https://{text}/", "denied", "ipv4", category)
        for name, spelling in ipv4_spellings(addresses[-1]):
            if spelling != addresses[-1]:
                yield _vector(f"https://{spelling}/", "denied", "ipv4", f"{category}/{name}")
    for text in ALLOWED_IPV4:
        yield _vector(f"https://{text}/", "allowed", "ipv4", "public")
    # An odd spelling is refused for what it is, wherever it leads.
    for name, spelling in ipv4_spellings("93.184.215.14"):
        yield _vector(f"https://{spelling}/", "allowed" if name == "dotted" else "denied", "ipv4", f"public/{name}")


def _ipv6() -> Iterator[dict[str, object]]:
    for category, addresses in DENIED_IPV6.items():
        for text in addresses:
            yield _vector(f"https://[{text}]/", "denied", "ipv6", category)
    for text in EMBEDDED_IPV4:
        for name, spelling in carriers(text):
            yield _vector(f"https://[{spelling}]/", "denied", "ipv6", f"carrier/{name}")
    for text in ALLOWED_IPV6:
        yield _vector(f"https://[{text}]/", "allowed", "ipv6", "public")


def _vector(url: str, verdict: str, family: str, category: str, answers: list[str] | None = None) -> dict[str, object]:
    """`answers` are what the URL's name resolves to, should it come to that."""
    return {
        "url": url,
        "verdict": verdict,
        "family": family,
        "category": category,
        "answers": PUBLIC_ANSWERS if answers is None else answers,
    }


def render() -> str:
    """The file: one vector a line."""
    lines = [json.dumps(vector, ensure_ascii=True) for vector in vectors()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else TARGET).write_text(render(), encoding="ascii")
