"""The pages as they are sent: every option has its place, every address exists, nothing comes from elsewhere."""

import re

import pytest

from app.options import FuseOptions
from app.web.assets import assets, assets_version, text
from app.web.bundle import bundle, modules_of
from app.web.templates import render

_STYLES = ("css/job.css", "css/report.css", "css/layers.css", "vendor/uplot/uPlot.min.css", "css/print.css")
_SHARED = {"root": "/fuse", "static": "/fuse/static/1", "keys": True, "max_upload_bytes": 1, "job_styles": _STYLES}


def _upload_page(**more: object) -> str:
    modules = modules_of("js/upload-page.js")
    given = {"fields": FuseOptions.model_fields, "base_url": "http://h", "modules": modules}
    return render("upload.html", **_SHARED, **(given | more))


def _job_page() -> str:
    return render("job.html", **_SHARED, job_id="<b>1</b>", modules=modules_of("js/job-page.js"))


def test_the_form_has_a_field_for_every_option_of_a_job() -> None:
    fields = set(re.findall(r'<(?:input|select|textarea)[^>]*\bname="(\w+)"', _upload_page()))

    assert fields - {"model", "probe"} == set(FuseOptions.model_fields)


def test_each_field_is_explained() -> None:
    page = _upload_page()

    for hint in re.findall(r'aria-describedby="([\w-]+)"', page):
        assert f'id="{hint}"' in page, hint


@pytest.mark.parametrize("page", [_upload_page(), _job_page()], ids=["upload", "job"])
def test_a_page_loads_what_there_is_from_here_alone_and_has_no_script_or_style_of_its_own(page: str) -> None:
    loaded = re.findall(r'<(?:link|script|img)[^>]*(?:href|src)="([^"]+)"', page)

    assert loaded
    for address in loaded:
        assert address.startswith("/fuse/static/1/"), address
        assert address.removeprefix("/fuse/static/1/") in assets()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", page)


def test_what_a_caller_writes_into_the_address_is_text_on_the_page() -> None:
    assert "<b>" not in _job_page()
    assert "&lt;b&gt;1&lt;/b&gt;" in _job_page()


def test_the_addresses_change_with_the_content_and_stay_without() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", assets_version())
    assert assets_version() == assets_version()


def test_no_style_or_script_of_ours_names_another_origin() -> None:
    ours = [name for name in assets() if name.endswith((".js", ".css")) and not name.startswith("vendor/")]

    for name in ours:
        others = re.findall(r"\bhttps?://[^\s\"']+", text(name))
        assert [one for one in others if not one.startswith("http://www.w3.org/")] == [], name  # names, not addresses


def test_a_bundle_holds_each_module_once_behind_what_it_needs() -> None:
    modules = modules_of("js/report/standalone.js")
    script = bundle("js/report/standalone.js")

    assert len(modules) == len(set(modules))
    assert modules.index("js/lib/dom.js") < modules.index("js/report/tree.js") < len(modules) - 1
    assert not re.search(r"^\s*(import|export) ", script, re.MULTILINE)
    assert all(script.count(f'modules["{name}"] = ') == 1 for name in modules)
