"""Keeps secrets out of what the AWS SDK logs: at level DEBUG it writes each request's session token."""

from __future__ import annotations

import logging
from typing import Final

from rivet_core.api import redact

#: The SDK's loggers that see whole requests. A filter counts for its own logger only, not for those below it.
_LOGGERS: Final = ("botocore.auth", "botocore.endpoint")


class _Redactor(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True


_REDACTOR: Final = _Redactor()


def redact_logs() -> None:
    """Have every secret that the redactor knows removed from the SDK's logs; once is enough."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_REDACTOR)
