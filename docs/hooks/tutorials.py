"""Tutorials: scripts in docs/tutorials, run as notebooks and shown as pages with their outputs.

A cell that fails stops the build. `RUN_TUTORIALS=false` shows them without outputs.
"""

import os
import sys
import tempfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

SECONDS = 600
"""Limit of a cell."""
BASH = "%%bash\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace each script by its page, its pictures and its notebook."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for script in [f for f in files if f.src_uri.startswith("tutorials/") and ".py" in f.src_uri]:
        files.remove(script)
        name = script.src_uri.removesuffix(".py")
        notebook = jupytext.reads(script.content_string, fmt="py:percent")
        if config.extra["run_tutorials"]:
            _run(notebook)
        pictures: dict[str, bytes] = {}
        page = "\n\n".join(_markdown(cell, Path(name).name, pictures) for cell in notebook.cells)
        page += f"\n\n[This page as a notebook]({Path(name).name}.ipynb)\n"
        files.append(File.generated(config, f"{name}.md", content=page))
        files.append(File.generated(config, f"{name}.ipynb", content=nbformat.writes(notebook)))
        for picture, content in pictures.items():
            files.append(File.generated(config, f"tutorials/{picture}", content=content))
    return files


def _run(notebook: Any) -> None:
    """Run all cells in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=SECONDS,
            extra_arguments=["--IPKernelApp.log_level=40"],  # it warns of its local port
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in notebook.cells:
        cell["outputs"] = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
        if cell.cell_type != "code":
            del cell["outputs"]


def _markdown(cell: Any, name: str, pictures: dict[str, bytes]) -> str:
    """A cell and its outputs; adds its pictures."""
    if cell.cell_type == "markdown":
        return str(cell.source)
    language = "sh" if cell.source.startswith(BASH) else "python"
    parts = [f"```{language}\n{cell.source.removeprefix(BASH)}\n```"]
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            picture = f"{name}_{len(pictures)}.png"
            pictures[picture] = b64decode(data["image/png"])
            about = data.get("text/plain", "").strip("<>'")
            parts.append(f"![{about}]({picture})")
        else:
            text = output.get("text", data.get("text/plain", "")).strip("\n")
            parts.append(f'```text title="output"\n{text}\n```')
    return "\n\n".join(parts)
