"""The fields of what users write: one annotated type each, with its rule and its limit."""

import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from beacond.core import names
from beacond.spec.durations import format_duration, parse_duration

TAGS_MAX = 64
META_MAX = 64
META_KEY_BYTES_MAX = 128
META_VALUE_BYTES_MAX = 512
PORTS_MAX = 32
CHECKS_MAX = 16
URL_MAX = 2048
COMMAND_MAX = 64
"""Arguments, the program included."""
ARGUMENT_MAX = 4096
CHECK_NAME_MAX = 64
REASON_BYTES_MAX = 255

MINUTE_S = 60.0
DAY_S = 24 * 3600.0

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_URL_TEXT = re.compile(r"[\x21-\x7e]+")


class Strict(BaseModel):
    """No conversions between types, no fields that nobody knows."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _whole(number: object) -> object:
    # JSON has one kind of number, and some languages write 8080 as 8080.0.
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number


def _encodable(text: str) -> str:
    # JSON can spell half a surrogate pair, which no answer could carry.
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    return text


def _limited(max_bytes: int, *, empty: bool = False) -> Callable[[str], str]:
    def check(text: str) -> str:
        if len(text.encode()) > max_bytes:
            raise ValueError(f"must be at most {max_bytes} bytes")
        if not text and not empty:
            raise ValueError("must not be empty")
        return text

    return check


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    return text


def _label(text: str) -> str:
    lowered = text.lower()
    if not names.is_label(lowered):
        raise ValueError(f"must be {names.LABEL_RULE}, so that DNS can carry it")
    return lowered


def _instance_id(text: str) -> str:
    if not names.is_instance_id(text):
        raise ValueError(f"must be {names.INSTANCE_ID_RULE}, with no space at either end")
    return text


def _port_name(text: str) -> str:
    lowered = text.lower()
    if not names.is_port_name(lowered):
        raise ValueError(f"must be a port's name as in {names.PORT_NAME_RULE}")
    return lowered


def _tag(text: str) -> str:
    if not names.is_tag(text):
        raise ValueError(f"must be {names.TAG_RULE}")
    return text


def _address(text: str) -> str:
    canonical = names.canonical_address(text)
    if canonical is None:
        raise ValueError(f"must be {names.ADDRESS_RULE}")
    return canonical


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or len(text) > URL_MAX or not _URL_TEXT.fullmatch(text):
        raise ValueError(
            "must be an absolute http:// or https:// URL of printable ASCII, "
            f"at most {URL_MAX} characters"
        )
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or len(text) > URL_MAX or not _URL_TEXT.fullmatch(text):
        raise ValueError(
            f"must begin with '/' and be at most {URL_MAX} characters of printable ASCII"
        )
    return text


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


def duration_between(least_s: float, most_s: float) -> AfterValidator:
    """A duration's text that lies in [least_s, most_s]."""
    allowed = f"must be between {format_duration(least_s)} and {format_duration(most_s)}"

    def check(text: str) -> str:
        if not least_s <= parse_duration(text) <= most_s:
            raise ValueError(allowed)
        return text

    return AfterValidator(check)


Text = Annotated[str, AfterValidator(_encodable)]
InstanceId = Annotated[Text, AfterValidator(_instance_id)]
ServiceName = Annotated[Text, AfterValidator(_label)]
PortName = Annotated[Text, AfterValidator(_port_name)]
Integer = Annotated[int, BeforeValidator(_whole)]
Port = Annotated[Integer, Field(ge=1, le=65535)]
Weight = Annotated[Integer, Field(ge=0, le=65535)]
Tag = Annotated[Text, AfterValidator(_tag)]
Address = Annotated[Text, AfterValidator(_address)]
MetaKey = Annotated[Text, AfterValidator(_printable), AfterValidator(_limited(META_KEY_BYTES_MAX))]
MetaValue = Annotated[Text, AfterValidator(_limited(META_VALUE_BYTES_MAX, empty=True))]
CheckName = Annotated[Text, AfterValidator(_printable), AfterValidator(_limited(CHECK_NAME_MAX))]
Reason = Annotated[
    Text, AfterValidator(_printable), AfterValidator(_limited(REASON_BYTES_MAX, empty=True))
]
Url = Annotated[Text, AfterValidator(_url)]
Path = Annotated[Text, AfterValidator(_path)]
Argument = Annotated[
    Text, AfterValidator(_argument), AfterValidator(_limited(ARGUMENT_MAX, empty=True))
]
Interval = Annotated[str, duration_between(1, DAY_S)]
Timeout = Annotated[str, duration_between(0.1, 5 * MINUTE_S)]
Ttl = Annotated[str, duration_between(1, DAY_S)]
DeregisterAfter = Annotated[str, duration_between(1, 30 * DAY_S)]
ModeFor = Annotated[str, duration_between(1, DAY_S)]
Threshold = Annotated[Integer, Field(ge=1, le=100)]
