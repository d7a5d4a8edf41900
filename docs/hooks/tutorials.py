"""Tutorials: scripts in docs/tutorials, run as notebooks and shown as pages with their outputs.

A cell that fails stops the build. `RUN_TUTORIALS=false` shows them without outputs.
"""

import os
import sys
import tempfile
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

SECONDS = 600
"""Limit of a cell."""
AT_ONCE = 2
"""Number of tutorials that run at the same time."""
BASH = "%%bash\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace each script by its page, its pictures and its notebook."""
    scripts = [f for f in files if f.src_uri.startswith("tutorials/") and f.src_uri[-3:] == ".py"]
    notebooks = [jupytext.reads(script.content_string, fmt="py:percent") for script in scripts]
    if config.extra["run_tutorials"]:
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(_run, notebooks))  # a list, which raises what they raise
    for script, notebook in zip(scripts, notebooks, strict=True):
        files.remove(script)
        name = Path(script.src_uri).stem
        pictures: dict[str, bytes] = {}
        page = "\n\n".join(_markdown(cell, name, pictures) for cell in notebook.cells)
        page += f"\n\n[This page as a notebook]({name}.ipynb)\n"
        made = {f"{name}.md": page, f"{name}.ipynb": nbformat.writes(notebook), **pictures}
        for file, content in made.items():
            files.append(File.generated(config, f"tutorials/{file}", content=content))
    return files


def _run(notebook: Any) -> None:
    """Run all cells in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=SECONDS,
            coalesce_streams=True,
            extra_arguments=["--IPKernelApp.log_level=40"],  # it warns of its local port
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]


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
            parts.append(f"![what the code above shows]({picture})")
        else:
            text = output.get("text", data.get("text/plain", "")).strip("\n")
            parts.append(f'```text title="output"\n{text}\n```')
    return "\n\n".join(parts)
