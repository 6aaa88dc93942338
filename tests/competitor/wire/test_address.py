"""Every way to name a server, and one clear line for everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competitor.errors import AddressError, message
from competitor.wire.address import Address, parse_address, server_address


@pytest.mark.parametrize(
    ("text", "url", "wire"),
    [
        ("comprl://example.org:4000", "comprl://example.org:4000", "comprl"),
        ("COMPRL://Example.org", "comprl://Example.org:65335", "comprl"),
        ("example.org:4000", "comprl://example.org:4000", "comprl"),
        (" example.org ", "comprl://example.org:65335", "comprl"),
        ("example.org/", "comprl://example.org:65335", "comprl"),
        ("127.0.0.1:1", "comprl://127.0.0.1:1", "comprl"),
        ("[::1]:4000", "comprl://[::1]:4000", "comprl"),
        ("bücher.example", "comprl://xn--bcher-kva.example:65335", "comprl"),
        ("ws://arena", "ws://arena:80/play", "websocket"),
        ("ws://arena:8080/", "ws://arena:8080/play", "websocket"),
        ("wss://arena", "wss://arena:443/play", "websocket"),
        ("wss://[::1]:8443/hall/play", "wss://[::1]:8443/hall/play", "websocket"),
        ("ws://arena?key=a%20b", "ws://arena:80/play?key=a%20b", "websocket"),
        ("ws://arena/a%2Fb//c/?q=?", "ws://arena:80/a%2Fb//c/?q=?", "websocket"),
        ("ws://[FE80::1]/x", "ws://[FE80::1]:80/x", "websocket"),
        ("example.org.", "comprl://example.org.:65335", "comprl"),
        ("straße.example", "comprl://xn--strae-oqa.example:65335", "comprl"),
    ],
)
def test_forms(text: str, url: str, wire: str) -> None:
    address = parse_address(text)
    assert (str(address), address.wire) == (url, wire)
    assert parse_address(str(address)) == address


WRONG = [
    ("", "it has no host name"),
    ("comprl://", "it has no host name"),
    ("http://example.org", "begins with http://, which is no tournament protocol"),
    ("example.org:", "port '' is not a whole number"),
    ("example.org:0", "port '0' is not a whole number from 1 to 65535"),
    ("example.org:65536", "port '65536'"),
    ("example.org:http", "port 'http'"),
    ("example.org:²", "port '²'"),
    ("exa mple.org", "'exa mple.org' is not a host name"),
    ("example..org", "is not a host name"),
    ("-example.org", "is not a host name"),
    (f"{'a' * 64}.org", "is not a host name"),
    (f"{'a.' * 126}ab", "is not a host name"),
    ("256.1.1.1", "'256.1.1.1' is not an IPv4 address"),
    ("ws://127.1", "'127.1' is not an IPv4 address"),
    ("ws://2130706433", "is not an IPv4 address"),
    ("::1", "write HOST:PORT, an IPv6 address as [::1]:PORT"),
    ("[::x]:1", "[::x] is not an IPv6 address"),
    ("comprl://example.org/play", "comprl servers have no path"),
    ("ws://example.org/play#top", "path and query must be plain"),
    ("ws://example.org/a b", "path and query must be plain"),
    ("ws://example.org?x=ü", "path and query must be plain"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_anything_else_is_one_clear_line(text: str, words: str) -> None:
    with pytest.raises(AddressError) as caught:
        server_address(text, {})
    line = message(caught.value)
    assert line.startswith("--server: ")
    assert words in line
    assert "ws://HOST:PORT" in line or "path" in line or "colons" in line


def test_a_token_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(AddressError) as caught:
        parse_address("ws://me:secret@example.org")
    assert "secret" not in str(caught.value)
    assert "token" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "environ", "expected"),
    [
        (None, {"COMPRL_SERVER_URL": "a.org"}, Address("comprl", "a.org", 65335)),
        (None, {"COMPRL_SERVER_URL": "a.org", "COMPRL_SERVER_PORT": "99"}, Address("comprl", "a.org", 99)),
        (None, {"COMPRL_SERVER_URL": "a.org:5", "COMPRL_SERVER_PORT": "99"}, Address("comprl", "a.org", 5)),
        (None, {"COMPRL_SERVER_URL": "ws://a.org"}, Address("ws", "a.org", 80, "/play")),
        ("b.org", {"COMPRL_SERVER_URL": "a.org", "COMPRL_SERVER_PORT": " 99 "}, Address("comprl", "b.org", 99)),
        ("b.org:7", {"COMPRL_SERVER_URL": "nonsense://"}, Address("comprl", "b.org", 7)),
    ],
)
def test_option_and_environment(option: str | None, environ: dict[str, str], expected: Address) -> None:
    assert server_address(option, environ) == expected


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "no server given: add --server with"),
        ({"COMPRL_SERVER_URL": " "}, "or set COMPRL_SERVER_URL"),
        ({"COMPRL_SERVER_URL": "ftp://a"}, "COMPRL_SERVER_URL: 'ftp://a' begins with ftp://"),
        ({"COMPRL_SERVER_URL": "a", "COMPRL_SERVER_PORT": "many"}, "COMPRL_SERVER_PORT: port 'many'"),
    ],
)
def test_wrong_environment(environ: dict[str, str], words: str) -> None:
    with pytest.raises(AddressError) as caught:
        server_address(None, environ)
    assert words in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError as error:
        assert "\n" not in message(error)
    else:
        assert parse_address(str(address)) == address
        assert 1 <= address.port <= 65535
