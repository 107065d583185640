"""Runs notebooks from top to bottom, and writes them with small outputs.

Text and pictures stay; players, which are large, and progress bars do not. From the root of the repository:

    python -m tests.notebooks.execute notebooks/02_latent_tour.ipynb
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

_COLOURS = 48  # of a picture: a third of the bytes, and the same to the eye


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook that is valid."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def run(path: Path, seconds: int = 600) -> nbformat.NotebookNode:
    """A notebook with the outputs of a new process, in its own folder; a cell may take so many seconds."""
    notebook = read(path)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=seconds, resources=where, coalesce_streams=True).execute()
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Of all code cells."""
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def has_player(output: nbformat.NotebookNode) -> bool:
    """Whether an output is sound."""
    return "<audio" in output.get("data", {}).get("text/html", "")


def keep_small(notebook: nbformat.NotebookNode) -> None:
    """Takes away, in place, what is not committed: players, what was said on standard error, times, most colours."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr" and not has_player(output)]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data = {"image/png": _few_colours(output.data["image/png"])}
    notebook.metadata.language_info = {"name": "python"}


def _few_colours(picture: str) -> str:
    """A picture in base64 with a palette."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(_COLOURS).save(small, format="png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        made = run(Path(argument))
        keep_small(made)
        nbformat.write(made, argument)
        print(f"{argument}: {Path(argument).stat().st_size / 1000:.0f} KB")
