"""What names may look like."""

import pytest

from beacond.core.names import (
    canonical_address,
    is_instance_id,
    is_label,
    is_port_name,
    is_tag,
)


@pytest.mark.parametrize("text", ["a", "0", "web", "web-1", "a--b", "a" * 62])
def test_label_is_accepted(text: str) -> None:
    assert is_label(text)


@pytest.mark.parametrize(
    "text", ["", "-a", "a-", "A", "a_b", "a.b", "a" * 63, "web\n", "bücher", "٣"]
)
def test_label_is_refused(text: str) -> None:
    assert not is_label(text)


@pytest.mark.parametrize("text", ["http", "h", "h2-c", "8p", "a" * 15])
def test_port_name_is_accepted(text: str) -> None:
    assert is_port_name(text)


@pytest.mark.parametrize(
    "text", ["", "tcp", "udp", "80", "8-0", "-h", "h-", "h--c", "H", "a" * 16, "http\n"]
)
def test_port_name_is_refused(text: str) -> None:
    assert not is_port_name(text)


@pytest.mark.parametrize("text", ["a", "!", "web 1", "a/b?c", "~" * 255])
def test_instance_id_is_accepted(text: str) -> None:
    assert is_instance_id(text)


@pytest.mark.parametrize("text", ["", " a", "a ", "a\n", "a\tb", "é", "~" * 256, "\x7f"])
def test_instance_id_is_refused(text: str) -> None:
    assert not is_instance_id(text)


@pytest.mark.parametrize("text", ["a", "büro", "x" * 255, "ü" * 127, "two words"])
def test_tag_is_accepted(text: str) -> None:
    assert is_tag(text)


@pytest.mark.parametrize("text", ["", "x" * 256, "ü" * 128, "a\nb", "\x00", "\x7f"])
def test_tag_is_refused(text: str) -> None:
    assert not is_tag(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_address_has_one_spelling(text: str, canonical: str) -> None:
    assert canonical_address(text) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "host", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1%eth0", "10.1", "::ffff:0.0.0.0"],
)
def test_address_nobody_can_connect_to_is_refused(text: str) -> None:
    assert canonical_address(text) is None
