"""What the configuration asks for every object, as the requests that create objects say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

if TYPE_CHECKING:
    from rivet_s3.config import S3Config

_ENCRYPTIONS: Final = {"aes256": "AES256", "kms": "aws:kms"}


def creation_options(config: S3Config) -> dict[str, Any]:
    """Return the fields for ``PutObject`` and ``CreateMultipartUpload``."""
    options = copy_options(config)
    if config.metadata:
        options["Metadata"] = config.metadata
    if config.tags:
        options["Tagging"] = urlencode(config.tags)
    return options


def copy_options(config: S3Config) -> dict[str, Any]:
    """Return the fields for ``CopyObject``, which takes metadata and tags from the source by itself."""
    options: dict[str, Any] = {}
    if config.storage_class is not None:
        options["StorageClass"] = config.storage_class
    if config.acl is not None:
        options["ACL"] = config.acl
    if config.sse is not None:
        options["ServerSideEncryption"] = _ENCRYPTIONS[config.sse.type]
        if config.sse.kms_key_id is not None:
            options["SSEKMSKeyId"] = config.sse.kms_key_id
    return options
