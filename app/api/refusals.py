"""What the API refuses before there is a job: rules of HTTP, limits of the service, callers without a key."""

from app.errors import AppError


class BadRequest(AppError):
    """The request breaks the rules of HTTP/1.1."""

    code = "bad-request"
    status = 400
    title = "This is not a valid HTTP request"


class TooSlow(AppError):
    """The request arrives more slowly than the service waits."""

    code = "too-slow"
    status = 408
    title = "The request took too long to arrive"


class UriTooLong(AppError):
    """Path and query are longer than any that exist here."""

    code = "uri-too-long"
    status = 414
    title = "Path and query are too long"


class MissingKey(AppError):
    """The service asks for an API key, and the request has none."""

    code = "missing-key"
    status = 401
    title = "An API key is needed"


class InvalidKey(AppError):
    """The API key is unknown or revoked."""

    code = "invalid-key"
    status = 401
    title = "The API key is not valid"


class UnknownHost(AppError):
    """The Host header names another host than this service answers for."""

    code = "unknown-host"
    status = 421
    title = "The service is not known by this name"


class CrossSite(AppError):
    """A browser sends this from a page of another site."""

    code = "cross-site"
    status = 403
    title = "Pages of other sites can't use this service"


class JobNotFinishedYet(AppError):
    """The end of a job is asked for before it has come, where the status alone is looked at."""

    code = "job-not-finished-yet"
    status = 404
    title = "The job has not ended yet"


class DigestInvalid(AppError):
    """A Content-Digest header is not written as RFC 9530 has it."""

    code = "digest-invalid-values"
    status = 400
    title = "The digest can't be read"


class DigestUnsupported(AppError):
    """A Content-Digest header names no algorithm that is checked here."""

    code = "digest-unsupported-algorithms"
    status = 400
    title = "No digest of this kind is checked"


class DigestMismatch(AppError):
    """The body does not have the digest that Content-Digest gives."""

    code = "digest-mismatching-values"
    status = 400
    title = "The body is not what its digest says"


class CodingNotSupported(AppError):
    """The body is compressed for transport, or a part of something."""

    code = "unsupported-coding"
    status = 415
    title = "The body is not sent plainly"


class IdempotencyKeyInvalid(AppError):
    """The Idempotency-Key is empty, too long, or not one string."""

    code = "idempotency-key-invalid"
    status = 400
    title = "The Idempotency-Key can't be read"


class IdempotencyKeyInUse(AppError):
    """A request with the same Idempotency-Key has not arrived in full yet."""

    code = "idempotency-key-in-use"
    status = 409
    title = "The same request is still arriving"


class IdempotencyKeyReused(AppError):
    """The Idempotency-Key came before, with another file or other options."""

    code = "idempotency-key-reused"
    status = 422
    title = "The Idempotency-Key belongs to another request"


class InvalidCursor(AppError):
    """The cursor is none that a page of the list gave."""

    code = "invalid-cursor"
    status = 422
    title = "There is no such page of the list"


class PreconditionFailed(AppError):
    """What is there now is not what If-Match names."""

    code = "precondition-failed"
    status = 412
    title = "It is not what If-Match says"


class RangeNotSatisfiable(AppError):
    """The range that is asked for lies outside of the file."""

    code = "range-not-satisfiable"
    status = 416
    title = "There are no such bytes"


class HeadersTooLarge(AppError):
    """There are too many headers, or they are too long."""

    code = "headers-too-large"
    status = 431
    title = "The headers are too large"


class VersionNotSupported(AppError):
    """The request is of another version of HTTP than 1.0 and 1.1."""

    code = "http-version-not-supported"
    status = 505
    title = "This version of HTTP is not spoken here"


class TooManyConnections(AppError):
    """The service, or this client, has as many connections open as it may."""

    code = "too-many-connections"
    status = 503
    title = "Too many connections are open"


class TooManyUploads(AppError):
    """This client has as many uploads in progress as it may."""

    code = "too-many-uploads"
    status = 429
    title = "Too many uploads at the same time"


class ServiceBusy(AppError):
    """The service takes no more uploads at the same time."""

    code = "service-busy"
    status = 503
    title = "The service has its hands full"


class Stopping(AppError):
    """The service stops while the request is under way."""

    code = "service-stopping"
    status = 503
    title = "The service stops"
