"""Where the service may connect to: URL -> checked target, host -> checked addresses.

Callers name the URLs of photos and webhooks, so each is hostile until it has passed here. A URL is parsed
strictly, and what two parsers could read in two ways is refused rather than mended. Addresses must be global
unicast by the registries of RFC 6890 (IANA special-purpose addresses) as they stood in 2025; the standard
library's `is_global` alone passes multicast, 6to4, NAT64 and site-local addresses. `pinned` connects to the
addresses that were checked here, so a name that answers differently the second time gains nothing.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote

from stallwart.core.errors import ConfigError

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port -> addresses as text; raises OSError where there are none."""

_PORTS = {"http": 80, "https": 443}
_MAX_URL_CHARS = 8_192
_URL = re.compile(r"([A-Za-z]+)://([^/?#]*)([^#]*)(?:#.*)?", re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")
_NAME_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")


def _networks(*names: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(name) for name in names)


# Machines' own services: never reached, whatever the operator allows. 168.63.129.16 is Azure's and lies in
# public space; fd00:ec2::/32 is Amazon's.
_METADATA = _networks(
    "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::/32", "fe80::/10"
)
# What an operator may open: loopback, private, carrier NAT, unique local.
_PRIVATE = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10", "::1/128", "fc00::/7"
)
_SPECIAL = _networks(
    "0.0.0.0/8",
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/3",  # multicast, reserved, broadcast
    "2001::/23",  # protocol assignments, Teredo among them
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressError(ValueError):
    """A URL or host may not be reached; the message says why, without path, query or address."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """One host that the operator lists; see `parse_hosts`.

    Attributes:
        scheme: http or https, and no other.
        host: name in lower case or address; without the `*.` of a wildcard.
        port: the only one allowed.
        below: whether names below `host` are meant, at any depth, and not `host` itself.
    """

    scheme: str
    host: str
    port: int
    below: bool = False

    @property
    def private(self) -> bool:
        """Whether it may be private or loopback: only what is listed as an address, never a name."""
        return as_address(self.host) is not None

    def matches(self, scheme: str, host: str, port: int) -> bool:
        """Whether this rule allows a checked host."""
        named = host.endswith(f".{self.host}") if self.below else host == self.host
        return named and (scheme, port) == (self.scheme, self.port)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be asked, in parts that were checked; `str` of it is the URL to ask.

    Attributes:
        scheme: http or https.
        host: name in lower case, or address without brackets.
        port: 1 to 65535.
        path: path and query, percent-encoded, from the first `/`.
        rule: what allowed it; None where any host was allowed.
    """

    scheme: str
    host: str
    port: int
    path: str
    rule: HostRule | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port, as messages name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")

    def __str__(self) -> str:
        return self.origin + self.path


def parse_hosts(listed: str) -> tuple[HostRule, ...]:
    """The operator's list, as `img.example.com, *.example.org, http://10.0.0.5:9000`; empty where empty.

    Each entry allows one scheme (https, unless `http://` is written before it) at one port (the scheme's,
    unless one is written). `*.` stands for one or more labels, so `*.example.org` does not allow
    `example.org`. A name never leads to a private address, whoever answers for it; private and loopback
    addresses are reached only where they are themselves listed, as numbers. Metadata and link-local
    addresses cannot be listed.

    Raises:
        ConfigError: an entry is none of these.
    """
    return tuple(_parse_host(entry.strip()) for entry in listed.split(",") if entry.strip())


def _parse_host(entry: str) -> HostRule:
    scheme, _, rest = entry.rpartition("://")
    scheme = scheme.lower() or "https"
    below = rest.startswith("*.")
    try:
        if scheme not in _PORTS:
            raise AddressError("is neither http nor https")
        host, port = _authority(rest.removeprefix("*.").removesuffix("/"), scheme)
        address = as_address(host)
        if address and (below or (reason := why_not(address, private=True))):
            raise AddressError("cannot be below an address" if below else reason)
    except AddressError as err:
        raise ConfigError(
            f"photo host {entry!r} {err}; write hosts as img.example.com, *.example.org or http://10.0.0.5:9000"
        ) from None
    return HostRule(scheme, host, port, below)


def check_url(
    url: str,
    schemes: Collection[str] = ("https",),
    allowed_hosts: Sequence[HostRule] | None = None,
    private: bool = False,
) -> Target:
    """The target of a URL, after everything that can be checked without asking a name server.

    Args:
        url: absolute; the fragment is dropped, spaces and other letters in path and query are encoded.
        schemes: those allowed where `allowed_hosts` is None.
        allowed_hosts: rules of which one must match scheme, host and port; None allows every host.
        private: whether a private or loopback address is allowed where `allowed_hosts` is None.

    Raises:
        AddressError: malformed, ambiguous, with user or password, or not allowed.
    """
    parts = _URL.fullmatch(url) if len(url) <= _MAX_URL_CHARS else None
    if parts is None or any(char < " " or char == "\x7f" for char in url):
        raise AddressError("is no absolute URL")
    scheme, rest = parts[1].lower(), parts[3]
    if scheme not in (_PORTS if allowed_hosts is not None else schemes) or scheme not in _PORTS:
        raise AddressError(f"has a scheme that is not allowed ({scheme[:16]})")
    host, port = _authority(parts[2], scheme)
    rule = None
    if allowed_hosts is not None:
        rule = next((rule for rule in allowed_hosts if rule.matches(scheme, host, port)), None)
        if rule is None:
            raise AddressError("has a host that is not listed")
        private = rule.private
    if (address := as_address(host)) and (reason := why_not(address, private)):
        raise AddressError(reason)
    try:
        path = quote(rest, safe="%/?:@!$&'()*+,;=~[]")
    except UnicodeEncodeError:  # lone surrogates
        raise AddressError("is no absolute URL") from None
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}", rule)


async def resolve_public(
    host: str, port: int, resolver: Resolver, private: bool = False
) -> tuple[Address, ...]:
    """The addresses of a host, at least one, each of them allowed; a literal address is its own.

    The name is asked once. One refused address refuses the host: a name that answers with a public and a
    private address is made to be tried until it gives the other.

    Raises:
        AddressError: the name has no address, or one that is not allowed.
    """
    literal = as_address(host)
    try:
        found = [str(literal)] if literal else await resolver(host, port)
        addresses = tuple(dict.fromkeys(_unmapped(ip_address(text)) for text in found))
    except (OSError, ValueError):
        addresses = ()
    if not addresses:
        raise AddressError("has a host that no name server knows")
    for address in addresses:
        if reason := why_not(address, private):
            raise AddressError(reason)
    return addresses


def why_not(address: Address, private: bool = False) -> str | None:
    """Why an address may not be reached, in a few words; None where it may.

    Args:
        address: any; IPv4 inside IPv6 (mapped, NAT64) counts as the IPv4 address that it leads to.
        private: allow loopback and private addresses too, but no others.
    """
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "has an address with a scope"
    address = _unmapped(address)
    if isinstance(address, IPv6Address) and address in _NAT64:
        return why_not(IPv4Address(int(address) & 0xFFFFFFFF))
    if _among(address, _METADATA):
        return "has a link-local or metadata address"
    if _among(address, _PRIVATE):
        return None if private else "has a private address"
    plain = isinstance(address, IPv4Address) or (address in _GLOBAL_UNICAST and not _isatap(address))
    if not plain or _among(address, _SPECIAL) or not address.is_global:
        return "has an address that is not global unicast"
    return None


def as_address(host: str) -> Address | None:
    """The address that a host is, in its one canonical notation; None where it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _authority(text: str, scheme: str) -> tuple[str, int]:
    """Host, as a name in lower case or an address without brackets, and port."""
    if "@" in text:
        raise AddressError("has a user or password")
    if not text.isascii():
        raise AddressError("has a host that is not in ASCII (international names are written as xn--)")
    parts = _AUTHORITY.fullmatch(text)
    port = int(parts[3] or _PORTS[scheme]) if parts else 0
    if parts is None or not 0 < port < 65536:
        raise AddressError("has a malformed host or port")
    if parts[1] is None:
        return _name(parts[2].lower()), port
    address = as_address(parts[1])
    if not isinstance(address, IPv6Address):
        raise AddressError("has a malformed host or port")
    return str(address), port


def _name(host: str) -> str:
    labels = host.split(".")
    # As in the URL standard, a name that ends in a number is an address. Its decimal, octal, hexadecimal and
    # short forms are read differently by different resolvers: four plain decimal numbers, or nothing
    if _NUMBER_LABEL.fullmatch(labels[-1]):
        if not isinstance(as_address(host), IPv4Address):
            raise AddressError("has an address in an unusual notation")
    elif len(host) > 253 or not all(_NAME_LABEL.fullmatch(label) for label in labels):
        raise AddressError("has a malformed host or port")
    return host


def _among(address: Address, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _unmapped(address: Address) -> Address:
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return inner or address


def _isatap(address: IPv6Address) -> bool:
    """Whether the lower half carries an IPv4 address by RFC 5214; nothing public is served from such."""
    return (int(address) >> 32) & 0xFDFFFFFF == 0x00005EFE
