"""The manifest of an archive: the table of its photos, checked and copied into blocks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tf_dhm.core.errors import InputError
from tf_dhm.core.extras import packages_of
from tf_dhm.core.files import atomic_write

with packages_of("archive", __name__):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.ipc
    import pyarrow.parquet as pq

BOX = ("x0", "y0", "x1", "y1")
MANIFEST_SUFFIXES = (".parquet", ".csv", ".csv.gz")
READ_ROWS = 65536
"""Rows of a Parquet manifest that are read at once."""

BLOCK_SCHEMA = pa.schema(
    [("row", pa.int64()), ("path", pa.string()), *((name, pa.float64()) for name in BOX)]
)
"""A row of the manifest as it is copied; no box: all four are null."""


def file_sha256(path: Path) -> str:
    """The SHA-256 of the bytes of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_manifest(path: Path) -> None:
    """Raise InputError if `path` cannot be a manifest."""
    if not path.is_file():
        raise InputError(f"manifest {path}: found no file, expected a table of photos")
    if not path.name.lower().endswith(MANIFEST_SUFFIXES):
        raise InputError(f"manifest {path}: expected a name that ends in {', '.join(MANIFEST_SUFFIXES)}")


def read_manifest(path: Path) -> Iterator[pa.RecordBatch]:
    """Stream a manifest as batches of BLOCK_SCHEMA without its `row`.

    Args:
        path: a Parquet or CSV file with a column `path` and, if boxes are given, `x0`, `y0`, `x1`
            and `y1`, empty for photos without a box. Other columns are not read.

    Raises:
        InputError: no such file, no table, or a column that is missing, occurs twice or has another type.
    """
    check_manifest(path)
    name = f"manifest {path}"
    try:
        yield from (_normalise(batch, name) for batch in _read_batches(path, name))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{name}: found no readable table: {error}") from error


def _read_batches(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() == ".parquet":
        with pq.ParquetFile(path) as file:
            columns = _wanted_columns(file.schema_arrow.names, name)
            yield from file.iter_batches(READ_ROWS, columns=columns)
        return
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(path, parse_options=parse) as reader:
        columns = _wanted_columns(reader.schema.names, name)
    types = {column: BLOCK_SCHEMA.field(column).type for column in columns}
    convert = pa.csv.ConvertOptions(column_types=types, include_columns=columns)
    with pa.csv.open_csv(path, parse_options=parse, convert_options=convert) as reader:
        yield from reader


def _wanted_columns(found: list[str], name: str) -> list[str]:
    """The columns to read among those found, or InputError if one is missing or occurs twice."""
    columns = ["path", *BOX] if any(column in found for column in BOX) else ["path"]
    missing = [column for column in columns if column not in found]
    if missing:
        raise InputError(
            f"{name}: found no column {', '.join(missing)} among {', '.join(found)[:200]}, "
            "expected path and, for boxes, all of x0, y0, x1, y1"
        )
    counts = Counter(found)
    if repeated := [column for column in columns if counts[column] > 1]:
        raise InputError(f"{name}: found the column {repeated[0]} {counts[repeated[0]]} times, expected once")
    return columns


def _normalise(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """A batch with the columns and types of BLOCK_SCHEMA, but `row`; no number is null."""
    columns = []
    for field in list(BLOCK_SCHEMA)[1:]:
        if field.name not in batch.schema.names:
            columns.append(pa.nulls(len(batch), field.type))
            continue
        column = batch.column(field.name)
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if isinstance(column.type, pa.DictionaryType):
            is_text = pa.types.is_string(column.type.value_type)
        if pa.types.is_null(column.type):
            pass
        elif field.name == "path" and not is_text:
            raise InputError(f"{name}: column path: found {column.type}, expected text")
        elif field.name in BOX and not (
            pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
        ):
            raise InputError(f"{name}: column {field.name}: found {column.type}, expected numbers")
        column = column.cast(field.type)
        if field.name in BOX:
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=BLOCK_SCHEMA.names[1:])


def copy_manifest(path: Path, target: Path, part_rows: int) -> int:
    """Write a manifest as an Arrow file of one batch for each part; returns how many rows it has.

    No more than one batch of each is in memory.

    Raises:
        InputError: as `read_manifest`, or there is no row.
    """
    rows = 0
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with atomic_write(target) as temporary, pa.ipc.new_file(temporary, BLOCK_SCHEMA, options=options) as file:
        for block in _blocks(read_manifest(path), part_rows):
            numbers = pa.array(np.arange(rows, rows + len(block)), pa.int64())
            arrays = [numbers, *block.columns]
            file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=BLOCK_SCHEMA))
            rows += len(block)
        if not rows:
            raise InputError(f"manifest {path}: found no row, expected one for each photo")
    return rows


def _blocks(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `size`, the last one with the rest."""
    held: list[pa.RecordBatch] = []
    missing = size
    for batch in batches:
        while len(batch):
            head, batch = batch.slice(0, missing), batch.slice(missing)
            held.append(head)
            missing -= len(head)
            if not missing:
                yield pa.concat_batches(held)
                held, missing = [], size
    if held:
        yield pa.concat_batches(held)


def read_block(manifest: Path, part: int) -> list[dict[str, Any]]:
    """The rows of a part, of BLOCK_SCHEMA, from what `copy_manifest` wrote."""
    with pa.memory_map(str(manifest)) as source:
        return pa.ipc.open_file(source).get_batch(part).to_pylist()
