"""Packages that a local function sees: those of Lambda's Python and of its layers."""

import hashlib
import io
import sys
import zipfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

from components.layers import link_installed
from components.package import BUILD_FOLDER, built_once
from local.errors import LocalError

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
SDK = ("boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3")

# Names that folder to the emulator's process.
SDK_VARIABLE = "PIPELINE_SDK_PACKAGES"


@cache
def sdk_folder() -> Path:
    """Return a folder with the packages of the AWS SDK, as they are installed beside this program, and nothing else."""
    installed = (sys.prefix, *(version(name) for name in SDK))
    name = f"sdk-{hashlib.sha256(repr(installed).encode()).hexdigest()[:16]}"

    def build(folder: Path) -> Path:
        packages = folder / "packages"
        packages.mkdir()
        for each in SDK:
            if not link_installed(each, packages):
                raise LocalError(f"{each} is not installed beside this program: run make environment")
        return packages

    return built_once(BUILD_FOLDER / name, build).resolve()


def layer_folders(layer: bytes) -> list[str]:
    """Return the folders of packages that a layer's zip leads to, as components/layers.py writes it."""
    with zipfile.ZipFile(io.BytesIO(layer)) as archive:
        links = [name for name in archive.namelist() if name.endswith(".pth")]
        return [line for name in links for line in archive.read(name).decode().splitlines()]
