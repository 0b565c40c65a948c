"""What can go wrong between messages and bytes.

Exception
├── DecodeError      what came from outside is refused; nothing changed
├── EncodeError      we were about to say what others would refuse; nothing was sent
└── KeyringError     the keys file can't be used (see `keyring`)
"""


class DecodeError(Exception):
    """Bytes from outside that are not a message for us.

    `reason` is one of a few stable words, fit for a metric's label: `malformed`, `oversized`,
    `wrong-version`, `wrong-fleet`, `unsigned`, `bad-signature`, `unknown-kind`, `not-for-us`.
    `detail` says more to a person reading a debug log; never shown to whoever sent the bytes.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class EncodeError(ValueError):
    """A message or record that keeps to its type but not to the protocol's limits."""
