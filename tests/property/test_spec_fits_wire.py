"""What the spec accepts the wire can carry: nobody is told 201 for what others could not read."""

from typing import Any

from hypothesis import given, reject
from hypothesis import strategies as st

from beacond.core.model import Body, Published, Record
from beacond.spec.problems import SpecError
from beacond.spec.registration import parse_registration
from beacond.wire import Codec

# Within the limits mostly, so that most are accepted; up to 4 bytes a character.
shown = st.characters(exclude_categories=["Cc", "Cs"])
names = st.from_regex(r"\A[A-Za-z]([A-Za-z0-9]{0,12}[A-Za-z0-9])?\Z")
ports = st.integers(1, 65535)
bodies = st.fixed_dictionaries(
    {"service": names, "port": ports},
    optional={
        "ports": st.dictionaries(names, ports, max_size=32),
        "address": st.ip_addresses().map(str),
        "tags": st.lists(st.text(shown, min_size=1, max_size=64), max_size=64),
        "meta": st.dictionaries(
            st.text(shown, min_size=1, max_size=32), st.text(max_size=128), max_size=64
        ),
        "weight": st.integers(0, 65535),
    },
)
ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)


@given(instance_id=ids, body=bodies)
def test_what_is_accepted_can_be_published(instance_id: str, body: dict[str, Any]) -> None:
    try:
        spec = parse_registration(instance_id, body, default_address="192.0.2.1")
    except SpecError:
        # Hypothesis complains if that is the rule rather than the exception.
        reject()
    published = Published(
        id=spec.id,
        service=spec.service,
        port=spec.port,
        ports=spec.ports,
        address=spec.address,
        tags=spec.tags,
        meta=spec.meta,
        weight=spec.weight,
    )
    record = Record(
        "host-a", 1, bytes(16), 1, Body("", ("192.0.2.1",), "1", instances=(published,))
    )
    assert Codec(fleet="default", node="host-a", keyring=None).seal(record)
