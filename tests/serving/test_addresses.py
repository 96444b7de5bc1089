import asyncio
import itertools
import string
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stallwart.core.errors import ConfigError
from stallwart.serving.addresses import (
    AddressError,
    HostRule,
    check_url,
    parse_hosts,
    resolve_public,
    why_not,
)

REFUSED_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32",
]
PUBLIC = ["8.8.8.8", "93.184.216.34", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::6810:84e5"]


def wrapped(inner: int) -> list[int]:
    """Every IPv6 form that leads to an IPv4 address."""
    return [
        inner,  # compatible, ::a.b.c.d
        0xFFFF << 32 | inner,  # mapped
        0xFFFF << 48 | inner,  # translated, RFC 2765
        int(IPv6Address("64:ff9b::")) | inner,  # NAT64
        int(IPv6Address("64:ff9b:1::")) | inner,  # NAT64 of one network
        0x2002 << 112 | inner << 80 | 1,  # 6to4
        0x20010000 << 96 | (inner ^ 0xFFFFFFFF),  # Teredo
        int(IPv6Address("2606:4700::")) | 0x5EFE << 32 | inner,  # ISATAP
        int(IPv6Address("2606:4700::")) | 0x0200_5EFE << 32 | inner,
        int(IPv6Address("fe80::")) | inner,
    ]


@st.composite
def refused_v4(draw: st.DrawFn) -> IPv4Address:
    network = ip_network(draw(st.sampled_from(REFUSED_V4)))
    return IPv4Address(
        draw(st.integers(int(network.network_address), int(network.broadcast_address)))  # type: ignore[arg-type]
    )


@st.composite
def notations(draw: st.DrawFn) -> str:
    """A refused address, written as some resolver somewhere would read it."""
    whole = int(draw(refused_v4()))
    count = draw(st.integers(1, 4))  # a.b.c.d, a.b.c, a.b or a: the last part takes the remaining bytes
    parts = [whole >> (8 * (3 - place)) & 0xFF for place in range(count - 1)]
    parts.append(whole & ((1 << (8 * (5 - count))) - 1))
    forms = ["{}", "0{:o}", "0x{:x}", "0X{:X}", "00{:o}", "0x000{:x}"]
    host = ".".join(draw(st.sampled_from(forms)).format(part) for part in parts)
    host += draw(st.sampled_from(["", ".", "%00", "%2e", "。", ":80", ":443", ":0"]))
    if draw(st.booleans()):
        alike = draw(st.sampled_from(["０１２３４５６７８９", "⓪①②③④⑤⑥⑦⑧⑨", "٠١٢٣٤٥٦٧٨٩", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"]))
        host = host.translate(dict(zip(map(ord, string.digits), alike, strict=True)))
    if draw(st.booleans()):
        host = "".join(f"%{ord(char):02x}" if char.isdigit() and char < "4" else char for char in host)
    user = draw(st.sampled_from(["", "", "user@", "a:b@", "img.example.com@", "img.example.com:443@"]))
    return draw(st.sampled_from(["https://", "http://", "HTTPS://"])) + user + host + "/a.jpg"


def passes(url: str) -> bool:
    try:
        check_url(url, ("http", "https"))
    except AddressError:
        return False
    return True


@settings(deadline=None)
@given(notations())
def test_no_notation_of_a_refused_address_passes(url: str) -> None:
    assert not passes(url)


@settings(deadline=None)
@given(refused_v4())
def test_no_ipv6_form_of_a_refused_address_passes(inner: IPv4Address) -> None:
    for number in wrapped(int(inner)):
        address = IPv6Address(number)
        assert why_not(address), address
        for text in (str(address), address.exploded, address.exploded.upper()):
            assert not passes(f"https://[{text}]/")
            assert not passes(f"https://[{text}%25eth0]/")
            assert not passes(f"https://{text}/")


@settings(deadline=None)
@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_what_the_standard_library_calls_special_never_passes(address: IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_site_local or address.is_reserved:
        assert why_not(address)


@pytest.mark.parametrize("network", REFUSED_V4)
def test_both_ends_of_every_special_block_are_refused(network: str) -> None:
    block = ip_network(network)
    assert why_not(block[0])
    assert why_not(block[-1])


@pytest.mark.parametrize(
    "text",
    ["::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1",
     "3fff::1", "100::1", "5f00::1", "4000::1", "64:ff9b::a9fe:a9fe", "::ffff:169.254.169.254",
     "2002:a9fe:a9fe::1"],
)  # fmt: skip
def test_special_ipv6_addresses_are_refused(text: str) -> None:
    assert why_not(ip_address(text))
    assert not passes(f"https://[{text}]/")


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_pass(text: str) -> None:
    assert why_not(ip_address(text)) is None
    assert passes(f"https://[{text}]/" if ":" in text else f"https://{text}/")


def test_an_address_inside_another_counts_as_what_it_leads_to() -> None:
    assert why_not(IPv6Address("::ffff:8.8.8.8")) is None
    assert why_not(IPv6Address("64:ff9b::808:808")) is None
    assert why_not(IPv6Address("64:ff9b::a00:1"), private=True)  # a translator is no way into the house


@pytest.mark.parametrize(
    "text", ["10.1.2.3", "127.0.0.1", "::1", "192.168.0.1", "fd12::1", "::ffff:127.0.0.1"]
)
def test_an_operator_can_open_private_addresses(text: str) -> None:
    assert why_not(ip_address(text), private=True) is None


@pytest.mark.parametrize(
    "text", ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "fe80::1", "0.0.0.0",
             "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:169.254.169.254", "::ffff:0.0.0.0"]
)  # fmt: skip
def test_nobody_can_open_metadata_link_local_or_multicast(text: str) -> None:
    assert why_not(ip_address(text), private=True)
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(ConfigError, match="photo host"):
        parse_hosts(f"http://{host}")


@pytest.mark.parametrize(
    "url",
    ["", "img.example.com/a", "//img.example.com/a", "https:///a", "https:img.example.com", "https://", "https://.",
     "https://img..example.com/", "https://img.example.com./", "https://-a.com/", "https://a-.com/",
     "https://user@img.example.com/", "https://user:secret@img.example.com/", "https://@img.example.com/",
     "https://img.example.com\\@evil.com/", "https://img.example.com%2eevil.com/", "https://img.example.com:/",
     "https://img.example.com:0/", "https://img.example.com:65536/", "https://img.example.com:4４3/",
     "https://img.example.com:443:80/", "https://bücher.example/", "https://ıp.example/", "https://evil。com/",
     "https://a b.com/", "https://img.example.com/\r\nHost: evil", "https://img.example.com/\x00", "file:///etc/passwd",
     "ftp://img.example.com/", "gopher://img.example.com/", "https://[::1", "https://[]/", "https://[1.2.3.4]/",
     "https://127.1/", "https://0x7f.1/", "https://2130706433/", "https://0177.0.0.1/", "https://1.2.3.4.5/",
     "https://08.8.8.8/", "https://a.0x1/", "https://a.b.0x/", " https://img.example.com/", "https://a/\ud800",
     "https://" + "a" * 64 + ".com/", "https://" + "a." * 127 + "com/",
     "https://img.example.com/" + "a" * 9000],
)  # fmt: skip
def test_malformed_and_ambiguous_urls_are_refused(url: str) -> None:
    with pytest.raises(AddressError):
        check_url(url)


def test_refusals_repeat_neither_path_nor_address() -> None:
    for url in ("https://user:secret@a.com/secret?secret", "https://10.9.8.7/secret", "secret://a/secret"):
        with pytest.raises(AddressError) as caught:
            check_url(url.replace("secret://", "ftp://"))
        assert "secret" not in str(caught.value)
        assert "10.9" not in str(caught.value)


def test_a_target_is_the_url_in_its_one_form() -> None:
    target = check_url("HTTPS://Img.Example.COM:443/ä b.jpg?x=%20|&y#part")
    assert str(target) == "https://img.example.com/%C3%A4%20b.jpg?x=%20%7C&y"
    assert str(check_url("https://a.com?x")) == "https://a.com/?x"
    assert str(check_url("https://[2606:4700::0:1]:8443/")) == "https://[2606:4700::1]:8443/"
    assert check_url("http://a.com/", ("http",)).port == 80
    with pytest.raises(AddressError, match="scheme"):
        check_url("http://a.com/")


_URLS = st.text(st.sampled_from("htps:/.@[]%?#\\-_0x19aé。\t ") | st.characters(), max_size=40)


@settings(deadline=None)
@given(_URLS | _URLS.map("https://img.example.com".__add__) | _URLS.map("https://".__add__))
def test_what_is_checked_is_what_is_asked(url: str) -> None:
    try:
        target = check_url(url, ("http", "https"))
    except AddressError:
        return
    asked = httpx.URL(str(target))
    assert asked.raw_host.decode() == target.host
    assert (asked.scheme, asked.userinfo, asked.fragment) == (target.scheme, b"", "")
    assert asked.port in (target.port, None)
    assert check_url(str(target), ("http", "https")) == target


LISTED = (
    "img.example.com, *.Example.ORG, http://10.0.0.5:9000, http://plain.example, https://alt.example:8443"
)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://img.example.com/a.jpg", True),
        ("https://IMG.EXAMPLE.COM/a.jpg", True),
        ("https://img.example.com:443/a.jpg", True),
        ("https://img.example.com:444/a.jpg", False),
        ("http://img.example.com/a.jpg", False),
        ("https://example.com/", False),
        ("https://a.img.example.com/", False),
        ("https://img.example.com.evil.com/", False),
        ("https://evilimg.example.com/", False),
        ("https://a.example.org/", True),
        ("https://a.b.example.org/", True),
        ("https://example.org/", False),
        ("https://evilexample.org/", False),
        ("http://10.0.0.5:9000/", True),
        ("http://10.0.0.5/", False),
        ("http://10.0.0.6:9000/", False),
        ("http://[::ffff:10.0.0.5]:9000/", False),
        ("https://10.0.0.5:9000/", False),
        ("http://plain.example/", True),
        ("https://plain.example/", False),
        ("https://alt.example:8443/", True),
        ("https://alt.example/", False),
    ],
)
def test_only_listed_hosts_are_allowed(url: str, allowed: bool) -> None:
    rules = parse_hosts(LISTED)
    if allowed:
        assert check_url(url, allowed_hosts=rules).rule in rules
        return
    with pytest.raises(AddressError, match="not listed"):
        check_url(url, allowed_hosts=rules)


def test_an_empty_list_allows_nothing() -> None:
    assert parse_hosts(" , ") == ()
    with pytest.raises(AddressError, match="not listed"):
        check_url("https://img.example.com/", allowed_hosts=())


def test_only_an_address_may_be_private() -> None:
    assert [rule.private for rule in parse_hosts(LISTED)] == [False, False, True, False, False]
    assert parse_hosts("http://[::1]:80") == (HostRule("http", "::1", 80),)


@pytest.mark.parametrize(
    "entry", ["*", "*.", "*.*.example.org", "a.*.org", "*example.org", "ftp://a.com", "a.com/path",
              "user@a.com", "127.1", "*.10.0.0.5", "a.com:99999", "bücher.example", "0.0.0.0", "a b", "a..b",
              "*.127.0.0.1:80"]
)  # fmt: skip
def test_a_wrong_entry_is_a_clear_error(entry: str) -> None:
    with pytest.raises(ConfigError, match="write hosts as"):
        parse_hosts(f"img.example.com,{entry}")


def resolve(answers: Sequence[str], host: str = "img.example.com", private: bool = False) -> list[str]:
    async def resolver(_host: str, _port: int) -> Sequence[str]:
        return answers

    return [str(address) for address in asyncio.run(resolve_public(host, 443, resolver, private))]


def test_every_address_of_a_name_must_be_allowed() -> None:
    assert resolve(PUBLIC) == PUBLIC
    for private, place in itertools.product(
        ["10.0.0.1", "::1", "fd00:ec2::254", "::ffff:10.0.0.1"], (0, 2, 6)
    ):
        with pytest.raises(AddressError):
            resolve([*PUBLIC[:place], private, *PUBLIC[place:]])


@pytest.mark.parametrize("answers", [[], ["nonsense"], ["8.8.8.8", ""], ["fe80::1%eth0"], ["8.8.8.8%x"]])
def test_an_answer_without_usable_addresses_is_refused(answers: list[str]) -> None:
    with pytest.raises(AddressError):
        resolve(answers)


def test_an_address_is_not_asked_for_and_checked_all_the_same() -> None:
    assert resolve(["9.9.9.9"], "8.8.8.8") == ["8.8.8.8"]
    assert resolve([], "127.0.0.1", private=True) == ["127.0.0.1"]
    assert resolve(["::ffff:8.8.8.8", "8.8.8.8"]) == ["8.8.8.8"]
    with pytest.raises(AddressError, match="private"):
        resolve([], "127.0.0.1")
