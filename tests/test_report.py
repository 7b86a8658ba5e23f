"""The report's published JSON Schema."""

import json
from pathlib import Path

from app.report import Report

SCHEMA = Path(__file__).parent.parent / "docs" / "report.schema.json"


def test_the_published_schema_is_the_one_of_the_code():
    assert json.loads(SCHEMA.read_text()) == Report.model_json_schema()
