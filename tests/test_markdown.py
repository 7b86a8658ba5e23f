"""The report as Markdown, read back by a parser that knows nothing of us."""

import re
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.markdown import report_markdown
from app.report import Report

_PARSER = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable(["table", "strikethrough"])

_REPORT: dict[str, Any] = {
    "summary": {
        "parameters_before": 37_196_556,
        "parameters_after": 36_907_898,
        "batch_norms_before": 92,
        "batch_norms_after": 0,
        "convolutions_before": 107,
        "convolutions_after": 92,
        "layers_replaced": 2,
        "layers_refused": 1,
        "layers_removed": 1,
        "bytes_stripped": 75_000_000,
        "bytes_saved_by_fusing": 1_200_000,
    },
    "input": {
        "filename": "yolov7.pt",
        "bytes": 150_000_000,
        "sha256": "ab" * 32,
        "format": "torch-zip",
        "detected": {
            "family": "YOLOv7",
            "source": "ema",
            "model_class": "models.yolo.Model",
            "classes": 80,
            "dtype": "float16",
            "parameters": 37_196_556,
        },
    },
    "output": {"filename": "yolov7.fused.pt", "bytes": 73_800_000, "sha256": "cd" * 32, "format": "torch-zip"},
    "equivalence": {
        "scope": "model",
        "identity": {"relative": 1.5e-14},
        "stored": {"relative": 2e-4, "noise": 3e-4},
        "native": {"relative": 2.5e-4, "absolute": 0.1, "noise": 3.1e-4, "dtype": "float32"},
        "probe": {"shape": [[2, 3, 64, 96]], "seed": 7, "device": "cpu"},
        "passed": True,
    },
    "replaced": [
        {
            "path": f"model.{number}",
            "read_as": "YOLOv7 RepConv",
            "before": ["Conv2d", "BatchNorm2d", "Conv2d"],
            "after": "Conv2d(16, 16, 3x3)",
            "parameters_before": 3000,
            "parameters_after": 2320,
            "assumed": number == 1,
            "error": {"identity": 1e-15, "native": 1e-7},
        }
        for number in range(2)
    ],
    "refused": [{"path": "model.9", "code": "called-twice", "reason": "It is called twice."}],
    "removed": [{"path": "optimizer", "reason": "Only training needs it.", "bytes": 75_000_000}],
    "notes": ["The file keeps its epoch."],
    "timings_seconds": {},
    "environment": {"fusebox": "0.1.0", "torch": "2.13.0", "python": "3.11.7", "device": "cpu"},
}


def _report(**changes: Any) -> Report:
    return Report.model_validate({**_REPORT, **changes})


def _tables(document: str) -> list[list[list[str]]]:
    """Every table of a document as rows of cells, by the parser's own account."""
    found: list[list[list[str]]] = []
    for token in _PARSER.parse(document):
        match token.type:
            case "table_open":
                found.append([])
            case "tr_open":
                found[-1].append([])
            case "inline" if token.level == 4 and found:
                found[-1][-1].append("".join(one.content for one in token.children or []))
    return found


def test_it_tells_what_was_done_and_why_it_can_be_trusted() -> None:
    document = report_markdown(_report())

    assert "2 layers replaced, 1 refused; no batch norm is left of 92." in document
    assert "Read as YOLOv7, 80 classes, float16, from `ema`." in document
    assert "The fused model computes the same. The outputs moved by 2.5e-04 of their size in float32" in document
    assert "the original's own rounding there makes 3.1e-04" in document
    assert "Both models were run end to end on random inputs (seed 7), 2×3×64×96, on `cpu`." in document
    assert "75 MB were dropped" in document
    figures, evidence, replaced, refused, removed, files = _tables(document)
    assert figures[1] == ["parameters", "37,196,556", "36,907,898", "-0.8%"]
    assert figures[-1] == ["file", "150 MB", "73.8 MB", "-50.8%"]
    assert evidence[3] == ["what a loader runs, in float32", "2.5e-04", "3.1e-04"]
    assert replaced[2] == ["model.1", "YOLOv7 RepConv (assumed)", "3 to Conv2d(16, 16, 3x3)", "1.0e-07"]
    assert refused[1] == ["model.9", "It is called twice.", "called-twice"]
    assert removed[1] == ["optimizer", "Only training needs it.", "75 MB"]
    assert [row[3] for row in files[1:]] == ["ab" * 32, "cd" * 32]


def test_what_was_not_measured_is_not_told() -> None:
    document = report_markdown(_report(equivalence=None, replaced=[], refused=[], removed=[], notes=[]))

    assert "Nothing was replaced" not in document  # the summary says otherwise
    assert "nothing in it was replaced" in document
    assert [line for line in document.splitlines() if line.startswith("## ")] == ["## Files"]


def test_a_difference_is_told_as_one() -> None:
    failed = {**_REPORT["equivalence"], "passed": False}

    assert "**The fused model differs.**" in report_markdown(_report(equivalence=failed))


def test_inputs_of_the_callers_own_are_told_as_such() -> None:
    probe = {**_REPORT["equivalence"]["probe"], "source": "caller"}

    assert "on inputs of yours, 2×3×64×96" in report_markdown(
        _report(equivalence={**_REPORT["equivalence"], "probe": probe})
    )


def test_latency_is_told_with_its_sentence_and_its_spread() -> None:
    row = {"batch": 8, "shape": [[8, 3, 64, 64]], "before_ms": 12.345, "after_ms": 10.0, "ratio": 1.2345}
    latency = {
        "device": "cpu",
        "dtype": "float32",
        "runtime": "torch 2.13.0",
        "threads": 2,
        "warmup": 3,
        "repeats": 20,
        "rows": [{**row, "spread": [1.2, 1.3], "repeats": 20}],
        "sentence": "Fusing makes it 23 % faster at a batch of 8.",
    }

    document = report_markdown(_report(latency=latency))

    assert "Fusing makes it 23 % faster at a batch of 8." in document
    assert ["8", "8×3×64×64", "12.3 ms", "10 ms", "1.23 (1.20 to 1.30)"] in _tables(document)[2]


def test_long_lists_end_with_how_many_more_there_are() -> None:
    many = [_REPORT["refused"][0]] * 250

    document = report_markdown(_report(refused=many))

    assert "## Refused (250)" in document
    assert len(_tables(document)[3]) == 101
    assert "And 150 more, which the JSON report has." in document


def test_a_program_is_shown_as_it_is_whatever_it_holds() -> None:
    program = "print('```')\n# ````\n"

    blocks = [one for one in _PARSER.parse(report_markdown(_report(), program)) if one.type == "fence"]

    assert [(one.info, one.content) for one in blocks] == [("python", program)]


_HOSTILE = st.text(st.sampled_from("a|`\\*_<>[]()!#&~:/@$.-=+\n\r\t\x00\u2028 ") | st.characters(), max_size=40)


@given(name=_HOSTILE, reason=_HOSTILE.map(lambda text: f"{text}x"))
@example(name="`", reason="- x")
@example(name="a`|``b", reason="1. x")
@example(name="|", reason="12) x")
@example(name=" `a` ", reason="see http://a.example/x, www.example.org or @user")
@settings(deadline=None)
def test_nothing_from_a_file_becomes_markup(name: str, reason: str) -> None:
    changed = _report(
        input={**_REPORT["input"], "filename": name, "detected": {**_REPORT["input"]["detected"], "family": reason}},
        refused=[{"path": name, "code": "x", "reason": reason}],
        notes=[reason],
    )
    document = report_markdown(changed)

    tokens = list(_PARSER.parse(document))
    kinds = {one.type for token in tokens for one in [token, *(token.children or [])]}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "s_open", "fence", "code_block", "hr"}
    # As many headings, tables and cells as without what is hostile.
    plain = [one.type for one in _PARSER.parse(report_markdown(_report())) if one.type != "inline"]
    assert [one.type for one in tokens if one.type != "inline"] == plain
    (cell,) = [row[0] for table in _tables(document) for row in table[1:] if row[-1] == "x"]
    shown = re.sub(r"\s+", " ", "".join(one if one.isprintable() else " " for one in name)).strip()
    assert cell == (shown or "(none)")
    assert not re.search(r"(?<!\\)://|@(?!\u200b)", re.sub(r"(`+) ?.*? ?\1(?!`)", "", document))
