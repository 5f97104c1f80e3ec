"""Data sets in the layout of the hub: parquet with typed columns, and a README that names parts."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TEXT, WHOLE, REAL, FLAG = "string", "int64", "float64", "bool"
PICTURE = "picture"


def listed(kind):
    return [kind]


def write_dataset(folder, parts):
    """`parts` is {configuration: (split, columns, rows)}; pictures are PNG or JPEG bytes."""
    folder = Path(folder)
    configurations = []
    for name, (split, columns, rows) in parts.items():
        path = folder / name / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        features = {column: feature(kind) for column, kind in columns.items()}
        schema = pa.schema(
            [(column, arrow(kind)) for column, kind in columns.items()],
            metadata={"huggingface": json.dumps({"info": {"features": features}})},
        )
        stored = [{column: kept(row.get(column)) for column in columns} for row in rows]
        pq.write_table(pa.Table.from_pylist(stored, schema=schema), path)
        configurations += [
            f"- config_name: {name}",
            "  data_files:",
            f"  - split: {split}",
            f"    path: {name}/{split}-*.parquet",
            *(["  default: true"] if name == "default" else []),
        ]
    text = "\n".join(["---", "configs:", *configurations, "---", ""])
    (folder / "README.md").write_text(text, encoding="utf-8")
    return folder


def kept(value):
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    if isinstance(value, list):
        return [kept(item) for item in value]
    return value


def feature(kind):
    if isinstance(kind, list):
        return {"feature": feature(kind[0]), "_type": "List"}
    if isinstance(kind, dict):
        return {name: feature(inner) for name, inner in kind.items()}
    return {"_type": "Image"} if kind == PICTURE else {"dtype": kind, "_type": "Value"}


def arrow(kind):
    if isinstance(kind, list):
        return pa.list_(arrow(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(name, arrow(inner)) for name, inner in kind.items()])
    if kind == PICTURE:
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return {TEXT: pa.string(), WHOLE: pa.int64(), REAL: pa.float64(), FLAG: pa.bool_()}[kind]
