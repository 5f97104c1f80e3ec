"""The composite action, its script run as GitHub runs it, with a program that tells what it got."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

ACTION = Path(__file__).parents[2] / ".github" / "actions" / "gate" / "action.yml"
PROGRAM = """#!/usr/bin/env python3
import json, os, pathlib, sys
pathlib.Path("seen.json").write_text(json.dumps(sys.argv[1:]))
code = int(os.environ["CODE"])
if code in (0, 1):
    pathlib.Path("out").mkdir(exist_ok=True)
    verdict = "fail" if code else "pass"
    pathlib.Path("out/gate.json").write_text(json.dumps({"verdict": verdict}))
sys.exit(code)
"""


def run_step(folder: Path, code: int, **inputs: str):
    """(exit code, outputs, what the program was called with)."""
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    (step,) = action["runs"]["steps"]
    program = folder / "bin" / "unimm-eval"
    program.parent.mkdir(exist_ok=True)
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    values = {name: entry.get("default", "") for name, entry in action["inputs"].items()} | inputs
    environment = {
        name: values[text.removeprefix("${{ inputs.").removesuffix(" }}")]
        for name, text in step["env"].items()
    }
    outputs = folder / "outputs"
    outputs.write_text("", encoding="utf-8")
    ended = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=folder,
        env={
            **environment,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(outputs),
            "CODE": str(code),
        },
        check=False,
    )
    told = dict(line.split("=", 1) for line in outputs.read_text(encoding="utf-8").splitlines())
    return ended.returncode, told, json.loads((folder / "seen.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("code", "verdict"), [(0, "pass"), (1, "fail"), (2, "refused")])
def test_the_step_ends_as_the_gate_does(tmp_path: Path, code: int, verdict: str) -> None:
    ended, told, _ = run_step(tmp_path, code, run="r", baseline="b.json", output="out")
    assert ended == code
    assert told == {"verdict": verdict, "exit-code": str(code)}


def test_an_old_verdict_is_not_told_again(tmp_path: Path) -> None:
    run_step(tmp_path, 0, run="r", baseline="b.json", output="out")
    _, told, _ = run_step(tmp_path, 2, run="r", baseline="b.json", output="out")
    assert told["verdict"] == "refused"


def test_inputs_are_arguments_and_never_script(tmp_path: Path) -> None:
    nasty = "$(touch owned) `touch owned`; touch owned \"'"
    _, _, seen = run_step(
        tmp_path,
        0,
        run=f"--help {nasty}",
        baseline=nasty,
        margin=f"a:mini=0.1\n{nasty}=0.2\n",
        margins="margins.yaml",
        tasks="a*, b",
        output="out",
    )
    assert not (tmp_path / "owned").exists()
    assert seen == [
        "gate",
        f"--baseline={nasty}",
        "--output=out",
        "--margins=margins.yaml",
        "--tasks=a*, b",
        "--margin=a:mini=0.1",
        f"--margin={nasty}=0.2",
        "--",
        f"--help {nasty}",
    ]


def test_the_action_gives_every_input_to_the_program() -> None:
    """What the program can be told, the action can."""
    from typer.main import get_command

    from unimm_eval.cli.main import app

    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    parameters = {param.name for param in get_command(app).commands["gate"].params}
    assert parameters == set(action["inputs"])
