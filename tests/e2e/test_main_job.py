"""The main job over real HTTP: a checkpoint in, the fused file and its report out."""

import base64
import gzip
import hashlib
import re
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from app.markdown import report_markdown
from app.options import FuseOptions
from app.report import Report
from app.snippet import comparison_snippet
from tests.engine.graph_models import export, net, onnx_net

_PLAIN = {"Accept-Encoding": "identity"}
_ANY_CODING = {"Accept-Encoding": "gzip, deflate, br, zstd, *"}


@pytest.fixture(scope="module")
def finished(server: Any, checkpoint: Path) -> httpx.Response:
    """The answer to an upload that waited for the fused file."""
    with checkpoint.open("rb") as file:
        answer = server.http.post("/fuse", params={"wait": 120}, files={"model": (checkpoint.name, file)}, timeout=130)
    assert answer.status_code == 200, answer.text
    return answer


def _curl(arguments: str, directory: Path) -> str:
    """Run a curl line as a user would paste it."""
    line = f"curl -sS --max-time 130 {arguments}"
    return subprocess.run(["bash", "-c", line], cwd=directory, check=True, capture_output=True, text=True).stdout


def test_an_upload_by_curl_is_accepted_and_its_next_command_saves_the_fused_file(
    server: Any, checkpoint: Path, tmp_path: Path
) -> None:
    shown = _curl(f"-i -F model=@{checkpoint} {server.url}/fuse", tmp_path)

    head, body = shown.replace("\r", "").split("HTTP/1.1 202 Accepted\n")[1].split("\n\n", 1)
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines())
    job = httpx.Response(200, text=body).json()
    assert headers["location"] == f"/v1/jobs/{job['id']}"
    assert "retry-after" in headers
    assert "content-disposition" not in headers
    assert job["next"].startswith("curl --fail-with-body -OJ 'http://")
    subprocess.run(["bash", "-c", job["next"]], cwd=tmp_path, check=True, capture_output=True)
    assert [path.name for path in tmp_path.iterdir()] == [f"{checkpoint.stem}.fused.pt"]


def test_waiting_curl_saves_the_fused_file_under_its_name(server: Any, checkpoint: Path, tmp_path: Path) -> None:
    _curl(f"--fail-with-body -OJ -F model=@{checkpoint} '{server.url}/fuse?wait=120'", tmp_path)

    (saved,) = tmp_path.iterdir()
    assert saved.name == f"{checkpoint.stem}.fused.pt"
    assert 0 < saved.stat().st_size < checkpoint.stat().st_size + 4096


def test_the_fused_file_comes_with_digest_name_and_a_link_to_its_report(
    server: Any, finished: httpx.Response, checkpoint: Path
) -> None:
    digest = hashlib.sha256(finished.content)
    assert finished.headers["etag"] == f'"{digest.hexdigest()}"'
    assert finished.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert finished.headers["content-disposition"] == f'attachment; filename="{checkpoint.stem}.fused.pt"'
    report = Report.model_validate(server.http.get(finished.links["describedby"]["url"]).json())
    assert report.output.sha256 == digest.hexdigest()
    assert report.input.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()


def test_a_preference_to_wait_is_applied_and_confirmed(server: Any, checkpoint: Path) -> None:
    with checkpoint.open("rb") as file:
        answer = server.http.post(
            "/fuse", headers={"Prefer": "respond-async, wait=100"}, files={"model": ("a.pt", file)}, timeout=130
        )

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=100"


def test_a_wait_that_is_too_short_ends_in_the_job(server: Any, checkpoint: Path) -> None:
    with checkpoint.open("rb") as file:
        answer = server.http.post("/fuse?wait=0.05", files={"model": ("a.pt", file)})

    assert answer.status_code == 202
    assert answer.json()["state"] in ("queued", "running")
    assert server.http.get(f"{answer.headers['location']}/model").status_code == 409


def test_a_finished_job_tells_its_whole_story(server: Any, finished: httpx.Response, checkpoint: Path) -> None:
    job = server.http.get(finished.headers["location"]).json()

    assert job["state"] == "succeeded"
    assert job["attempts"] == 1
    assert job["problem"] is None
    assert job["created_at"] < job["started_at"] < job["finished_at"]
    assert job["input"]["filename"] == checkpoint.name
    assert job["output"]["bytes"] == len(finished.content)


@pytest.mark.parametrize(
    ("asked", "start", "stop"), [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None)]
)
def test_a_range_is_that_part_of_the_file(
    server: Any, finished: httpx.Response, asked: str, start: int, stop: int | None
) -> None:
    part = server.http.get(f"{finished.headers['location']}/model", headers={"Range": asked})

    assert part.status_code == 206
    assert part.content == finished.content[start:stop]
    assert part.headers["content-range"].endswith(f"/{len(finished.content)}")


def test_a_range_of_another_version_is_not_mixed_into_this_one(server: Any, finished: httpx.Response) -> None:
    whole = server.http.get(
        f"{finished.headers['location']}/model", headers={"Range": "bytes=0-9", "If-Range": '"other"'}
    )

    assert whole.status_code == 200
    assert whole.content == finished.content


def test_a_range_outside_of_the_file_is_a_problem(server: Any, finished: httpx.Response) -> None:
    answer = server.http.get(f"{finished.headers['location']}/model", headers={"Range": "bytes=999999999999-"})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(finished.content)}"
    assert answer.json()["code"] == "range-not-satisfiable"


def test_a_known_etag_saves_the_download(server: Any, finished: httpx.Response) -> None:
    path, etag = f"{finished.headers['location']}/model", finished.headers["etag"]

    assert server.http.get(path, headers={"If-None-Match": etag}).status_code == 304
    assert server.http.head(path).headers["content-length"] == str(len(finished.content))


def test_model_and_report_come_in_one_archive_too(server: Any, finished: httpx.Response, tmp_path: Path) -> None:
    path = f"{finished.headers['location']}/bundle"
    _curl(f"--fail-with-body -OJ '{server.url}{path}'", tmp_path)

    (saved,) = tmp_path.iterdir()
    name = finished.headers["content-disposition"].split('"')[1]
    assert saved.name == f"{name}.zip"
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [name, "report.json"]
        assert archive.read(name) == finished.content
        assert archive.read("report.json") == server.http.get(path.replace("bundle", "report")).content
    head = server.http.head(path)
    digest = base64.b64encode(hashlib.sha256(saved.read_bytes()).digest()).decode()
    assert head.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert head.headers["content-length"] == str(saved.stat().st_size)
    part = server.http.get(path, headers={"Range": "bytes=100-", "If-Range": head.headers["etag"]})
    assert (part.status_code, part.content) == (206, saved.read_bytes()[100:])
    assert server.http.get(path, headers={"If-None-Match": head.headers["etag"]}).status_code == 304


def test_a_report_has_a_version_a_digest_and_ranges(server: Any, finished: httpx.Response) -> None:
    path = f"{finished.headers['location']}/report"
    whole = server.http.get(path, headers=_PLAIN)

    digest = base64.b64encode(hashlib.sha256(whole.content).digest()).decode()
    assert whole.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert "content-disposition" not in whole.headers
    assert server.http.get(path, headers={"If-None-Match": whole.headers["etag"], **_PLAIN}).status_code == 304
    assert server.http.get(path, headers={"Range": "bytes=3-9"}).content == whole.content[3:10]


def test_a_report_is_packed_for_whoever_can_unpack_it_and_is_then_another_version(
    server: Any, finished: httpx.Response, tmp_path: Path
) -> None:
    path = f"{finished.headers['location']}/report"
    plain = server.http.get(path, headers=_PLAIN)
    with server.http.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())

    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 3
    digest = base64.b64encode(hashlib.sha256(packed).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert (answer.headers["content-encoding"], answer.headers["accept-ranges"]) == ("gzip", "none")
    assert answer.headers["content-length"] == str(len(packed))
    assert answer.headers["vary"] == plain.headers["vary"] == "Accept, Accept-Encoding"
    assert "content-encoding" not in plain.headers
    assert answer.headers["etag"] != plain.headers["etag"]
    zipped = {"Accept-Encoding": "gzip"}
    head = server.http.head(path, headers=zipped).headers
    for name in ("content-length", "content-encoding", "content-type", "etag", "repr-digest", "vary"):
        assert head[name] == answer.headers[name], name
    known = server.http.get(path, headers={"If-None-Match": answer.headers["etag"], **zipped})
    assert (known.status_code, known.headers["etag"]) == (304, answer.headers["etag"])
    assert server.http.get(path, headers={"If-None-Match": plain.headers["etag"], **zipped}).status_code == 200
    # A range is one of the text, also where it continues a packed answer.
    part = server.http.get(path, headers={"Range": "bytes=3-", "If-Range": plain.headers["etag"], **zipped})
    assert (part.status_code, part.content, "content-encoding" in part.headers) == (206, plain.content[3:], False)
    again = server.http.get(path, headers={"Range": "bytes=3-", "If-Range": answer.headers["etag"], **zipped})
    assert (again.status_code, again.content) == (200, plain.content)
    _curl(f"--fail-with-body --compressed -o '{tmp_path}/r.json' '{server.url}{path}'", tmp_path)
    assert (tmp_path / "r.json").read_bytes() == plain.content


@pytest.mark.parametrize(("asked", "packed"), [("gzip, br", True), ("identity", False), ("gzip;q=0, br", False)])
def test_a_script_is_packed_for_whoever_can_unpack_it(server: Any, asked: str, packed: bool) -> None:
    page = server.http.get("/", headers={"Accept": "text/html"}).text
    script = re.search(r"/static/\w+/js/upload-page\.js", page)
    assert script is not None

    answer = server.http.get(script[0], headers={"Accept-Encoding": asked})

    assert ("content-encoding" in answer.headers, answer.headers["vary"]) == (packed, "Accept-Encoding")
    assert "import" in answer.text


@pytest.mark.parametrize("part", ["/model", "/bundle", "/events", "", "/done"])
def test_nothing_else_of_a_job_is_packed(server: Any, finished: httpx.Response, part: str) -> None:
    with server.http.stream("GET", f"{finished.headers['location']}{part}", headers=_ANY_CODING) as answer:
        assert answer.status_code in (200, 204)
        assert "content-encoding" not in answer.headers


def test_a_report_comes_in_the_form_that_is_asked_for(server: Any, finished: httpx.Response) -> None:
    path = f"{finished.headers['location']}/report"
    markdown = server.http.get(path, headers={"Accept": "text/markdown"})
    page = server.http.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    stored = Report.model_validate(server.http.get(path).json())

    assert markdown.headers["content-type"] == "text/markdown; charset=utf-8"
    assert markdown.text == report_markdown(stored, comparison_snippet(stored))
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")
    assert stored.output.filename in page.text
    for form, name in ((markdown, "md"), (page, "html")):
        assert form.headers["vary"] == "Accept, Accept-Encoding"
        plain = server.http.get(f"{path}.{name}")
        assert (plain.content, plain.headers["etag"]) == (form.content, form.headers["etag"])
        assert server.http.get(f"{path}.{name}", headers={"If-None-Match": form.headers["etag"]}).status_code == 304
        length = server.http.head(f"{path}.{name}", headers=_PLAIN).headers["content-length"]
        assert length == str(len(form.content))
    assert server.http.get(path).headers["etag"] not in (markdown.headers["etag"], page.headers["etag"])


def test_options_count_on_either_side_of_the_file(server: Any, checkpoint: Path) -> None:
    model = ("model", (checkpoint.name, checkpoint.read_bytes()))
    parts = [("strict", (None, "true")), model, ("dtype", (None, "float32")), ("max_error", (None, "0.5"))]

    answer = server.http.post("/fuse", files=parts)

    assert answer.status_code == 202
    asked = FuseOptions(max_error=0.5, dtype="float32", strict=True)
    assert answer.json()["options"] == asked.model_dump(mode="json")


def test_uploads_at_the_same_time_all_get_their_own_answer(server: Any, checkpoint: Path) -> None:
    def upload(number: int) -> httpx.Response:
        files = {"model": (f"number-{number}.pt", checkpoint.read_bytes())}
        return httpx.post(f"{server.url}/fuse?wait=120", files=files, timeout=130)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(upload, range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4
    names = [answer.headers["content-disposition"] for answer in answers]
    assert names == [f'attachment; filename="number-{number}.fused.pt"' for number in range(4)]


def test_a_file_that_is_no_checkpoint_is_refused_by_name_and_with_a_remedy(server: Any) -> None:
    answer = server.http.post("/fuse?wait=60", files={"model": ("notes.pt", b"These are notes, not weights.\n" * 50)})

    problem = answer.json()
    assert answer.status_code == problem["status"]
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["remedy"]
    assert answer.headers["location"] == problem["instance"]
    job = server.http.get(problem["instance"]).json()
    assert job["state"] == "failed"
    assert job["problem"] == problem
    for part in ("model", "report"):
        assert server.http.get(f"{problem['instance']}/{part}").json() == problem


@pytest.mark.parametrize("name", ["plain.pt", "it's; $(here), a b.pt", "-größe.pt"])
def test_the_next_command_of_a_failed_job_sends_that_file_again(server: Any, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"These are notes, not weights.")
    job = server.job(server.upload(file), wait=20)

    subprocess.run(["bash", "-c", job["next"]], cwd=tmp_path, check=False, capture_output=True)

    (answer,) = (path for path in tmp_path.iterdir() if path != file)
    again = server.http.get(httpx.Response(200, content=answer.read_bytes()).json()["instance"]).json()
    assert again["id"] != job["id"]
    assert again["input"] == job["input"]


def test_the_service_prints_no_secret_and_no_advertisement(server: Any, finished: httpx.Response) -> None:
    log = server.log.read_text()

    assert "conductor" not in log.lower()
    assert "console.dbos" not in log


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_graph_file_comes_back_in_its_own_format(server: Any, kind: str, tmp_path: Path) -> None:
    source = tmp_path / f"net.{kind}"
    if kind == "onnx":
        onnx_net(net(), source)
    else:
        export(net(), source, torch.randn(2, 3, 20, 28))
    with source.open("rb") as file:
        answer = server.http.post(
            "/fuse", params={"wait": 120}, files={"model": (source.name, file)}, data={"probe_shape": "1x3x64x96"}
        )

    assert answer.status_code == 200, answer.text
    assert f'filename="net.fused.{kind}"' in answer.headers["content-disposition"]
    (tmp_path / "out").write_bytes(answer.content)
    report = server.http.get(answer.headers["link"].split("<")[1].split(">")[0]).json()
    assert report["summary"]["batch_norms_after"] == 0
    assert report["equivalence"]["probe"]["shape"] == [[1, 3, 64, 96]]
