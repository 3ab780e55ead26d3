"""`pipeline new`: what it writes is green as it stands."""

import os
import subprocess
import sys
from keyword import iskeyword
from pathlib import Path

import pytest
import yaml

from cli.new_webhook import DUMMY, SAMPLES

from .conftest import ROOT, Command


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project of a user: the packages as they are, folders of its own for what is the user's."""
    for name in ("handlers", "components", "local", "cli", "testing", "__main__.py", "Pulumi.yaml", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text('pytest_plugins = ("testing.fixtures",)\n')
    for name in ("processors", "schemas"):
        (tmp_path / name).mkdir()
    (tmp_path / "processors" / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("variant", ["api", "csv", "iot"])
def test_a_new_stack_passes_its_own_test(variant: str, pipeline: Command, clone: Path) -> None:
    made = pipeline("new", "shop", "--variant", variant, cwd=clone)
    assert made.exit_code == 0, made.stderr
    assert passes(made.stdout.splitlines()[-1].split()[-1], clone)


def passes(test: str, clone: Path) -> bool:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=clone,
        env={**os.environ, "PYTHONPATH": str(clone)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return True


@pytest.mark.parametrize("signature", SAMPLES)
def test_a_new_stack_with_a_webhook_passes_its_own_test(signature: str, pipeline: Command, clone: Path) -> None:
    made = pipeline("new", "shop", "--webhook", signature, cwd=clone)
    assert made.exit_code == 0, made.stderr
    local, send, test = made.stdout.splitlines()[-3:]
    assert local.startswith(f"PIPELINE_SECRET_WEBHOOK_{signature.upper()}=")
    assert send.startswith(f"pipeline webhook send {signature} samples/shop.json")
    checked = pipeline("check", "--stack", "shop", cwd=clone)
    assert checked.stdout.splitlines()[-1].endswith(", nothing found")
    # Each run of pytest loads Pulumi.
    if signature in ("github", "hmac"):
        assert passes(test.split()[-1], clone)


def test_the_sample_of_a_new_stack_is_sent_as_its_sender_would(pipeline: Command, clone: Path) -> None:
    for signature in SAMPLES:
        send = (
            pipeline("new", f"shop_{signature}", "--webhook", signature, cwd=clone).stdout.splitlines()[-2].split()[1:]
        )
        environment = {"PIPELINE_OUTPUTS": '{"api_url": "http://127.0.0.1:9"}'}
        failed = pipeline(*send, cwd=clone, env={**environment, f"PIPELINE_SECRET_WEBHOOK_{signature.upper()}": DUMMY})
        assert failed.stderr.startswith("error: 127.0.0.1:9 does not answer"), failed.stderr


def test_nothing_of_the_user_is_replaced(pipeline: Command, clone: Path) -> None:
    (clone / "processors" / "shop.py").write_text("mine")
    failed = pipeline("new", "shop", cwd=clone)
    assert failed.stderr == "error: processors/shop.py exists already; choose another name\n"
    assert (clone / "processors" / "shop.py").read_text() == "mine"
    assert not (clone / "Pulumi.shop.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["My-Shop"], "error: 'My-Shop': a name is a lower-case letter"),
        (["class"], "error: 'class' has a meaning of its own in Python or YAML; choose another name, like my_class"),
        (["null"], "error: 'null' has a meaning of its own in Python or YAML"),
        (["shop", "--variant", "kafka"], "error: --variant kafka: must be one of api, csv, iot"),
        (["shop", "--webhook", "gitlab"], "error: --webhook gitlab: must be one of github, stripe"),
        (["shop", "--variant", "csv", "--webhook", "github"], "error: --webhook github: must be one of"),
    ],
)
def test_a_wrong_name_or_variant_is_an_error(
    arguments: list[str], message: str, pipeline: Command, clone: Path
) -> None:
    assert pipeline("new", *arguments, cwd=clone).stderr.startswith(message)


def test_a_name_that_yaml_reads_as_something_else_is_refused(pipeline: Command, clone: Path) -> None:
    for name in ("true", "yes", "on", "null", "import", "none", "test", "json"):
        made = pipeline("new", name, cwd=clone)
        reads = yaml.safe_load(name)
        assert (made.exit_code == 0) == (reads == name and not iskeyword(name)), name


def test_nothing_is_left_of_files_that_could_not_all_be_written(pipeline: Command, clone: Path) -> None:
    (clone / "tests" / "processors").symlink_to("/proc")
    failed = pipeline("new", "shop", cwd=clone)
    assert failed.stderr.startswith(f"error: cannot write {clone}/tests/processors/test_shop.py: ")
    assert failed.stderr.endswith("; nothing was written\n")
    assert not (clone / "Pulumi.shop.yaml").exists()
    assert not (clone / "processors" / "shop.py").exists()
