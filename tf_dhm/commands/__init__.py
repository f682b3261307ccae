"""What align.py and align_archive.py run: inputs in, files and tables out."""

__all__ = [
    "align",
    "archive",
    "archive_manifest",
    "archive_parts",
    "demo",
    "face_records",
    "inputs",
    "options",
    "osc",
    "sinks",
    "videos",
]
