"""The form of an upload, read back by the standard library's own parser of messages."""

import email
import email.policy
import hashlib
from pathlib import Path

import pytest

from fusebox_client import Progress
from fusebox_client.progress import unheard
from fusebox_client.talk.multipart import FileChanged, FilePart, Form


def _parts(form: Form) -> list[tuple[str, str | None, bytes]]:
    """Name, file name and bytes of each part, as another parser sees them."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {form.content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + b"".join(form.pieces()), policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        body = part.get_payload(decode=True)
        assert isinstance(body, bytes)
        found.append((str(name), part.get_filename(), body))
    return found


def test_fields_and_files_are_read_back_as_they_were(tmp_path: Path) -> None:
    model, probe = tmp_path / "m.pt", tmp_path / "p.npy"
    model.write_bytes(bytes(range(256)) * 3000)
    probe.write_bytes(b"\r\n--x--\r\n")
    form = Form(
        {"max_error": "0.001", "plan": '{"a": "ü"}'},
        (FilePart.of("model", model), FilePart.of("probe", probe, "other.npy")),
        unheard,
    )

    assert _parts(form) == [
        ("max_error", None, b"0.001"),
        ("plan", None, '{"a": "ü"}'.encode()),
        ("model", "m.pt", model.read_bytes()),
        ("probe", "other.npy", probe.read_bytes()),
    ]


@pytest.mark.parametrize("name", ["plain.pt", 'a "b".pt', "größe\n.pt"])
def test_the_announced_length_is_that_of_the_body(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.pt").write_bytes(b"x" * 700_000)
    form = Form({"dtype": "keep"}, (FilePart.of("model", tmp_path / "m.pt", name),), unheard)

    body = b"".join(form.pieces())

    assert form.length == len(body)
    assert len(b"".join(form.pieces())) == len(body)  # and again, for another attempt
    assert form.sha256 == hashlib.sha256(b"x" * 700_000).hexdigest()


def test_progress_grows_from_nothing_to_all(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"x" * 900_000)
    heard: list[Progress] = []

    for _ in Form({}, (FilePart.of("model", tmp_path / "m.pt"),), heard.append).pieces():
        pass

    assert heard[0].done == 0
    assert heard[-1].done == heard[-1].total == 900_000
    assert [one.done for one in heard] == sorted(one.done for one in heard)


@pytest.mark.parametrize("later", [b"x" * 90, b"x" * 110])
def test_a_file_that_is_still_being_written_is_not_sent_to_its_end(tmp_path: Path, later: bytes) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(b"x" * 100)
    form = Form({}, (FilePart.of("model", path),), unheard)
    path.write_bytes(later)

    with pytest.raises(FileChanged, match=r"m\.pt has changed"):
        list(form.pieces())
