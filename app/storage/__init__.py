"""Blobs: uploads, fused models and reports, on local disk or in an object store."""

from app.storage.blobs import BlobNotFound, Blobs, Upload, input_key, job_prefix, output_keys, probe_key
from app.storage.local import LocalBlobs
from app.storage.remote import RemoteBlobs, open_blobs

__all__ = [
    "BlobNotFound",
    "Blobs",
    "LocalBlobs",
    "RemoteBlobs",
    "Upload",
    "input_key",
    "job_prefix",
    "open_blobs",
    "output_keys",
    "probe_key",
]
