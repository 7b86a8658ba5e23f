"""Reads .pt2 archives, as torch.export.save writes them. Nothing in them is imported, called or evaluated."""

from dataclasses import fields

from app.engine.formats.limits import Limits
from app.engine.formats.mapped_file import MappedFile
from app.engine.formats.pt2.archive import MODELS, SAMPLES, read_archive
from app.engine.formats.pt2.document import read_document
from app.engine.formats.pt2.json_text import read_json
from app.engine.formats.pt2.payloads import read_payloads
from app.engine.formats.pt2.pickled import check_samples
from app.engine.formats.pt2.pt2_file import Pt2File
from app.engine.ir.exported import Exported


def read_pt2(file: MappedFile, limits: Limits) -> Pt2File:
    """The exported program; its weights stay in the file. Raises AppError."""
    archive = read_archive(file, limits)
    check_samples(archive.records.get(f"{SAMPLES}{archive.model}.pt"), limits)
    payloads, pickled = read_payloads(archive, limits)
    document = read_json(archive.records[f"{MODELS}{archive.model}.json"])
    program = read_document(document, payloads)
    parts = {field.name: getattr(program, field.name) for field in fields(Exported)}
    return Pt2File(**parts, archive=archive, document=document, payloads=payloads, pickled=pickled)
