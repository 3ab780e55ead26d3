"""The archive with the functions' code."""

from pathlib import Path

import pulumi
import pytest

from components.package import ROOT, source_archive


def test_the_code_is_the_handlers_and_every_file_of_the_project_s_folders_in_order_and_what_is_added(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("code/b.py", "code/a/c.py", "code/rates.json", "code/__pycache__/b.pyc", "code/.env", "other/d.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.chdir(tmp_path)
    assets = source_archive("code", extra={"schemas.json": "{}"}).assets
    names = list(assets)
    assert [name for name in names if not name.startswith("handlers/")] == [
        "code/a/c.py",
        "code/b.py",
        "code/rates.json",
        "schemas.json",
    ]
    assert names[:-1] == sorted(names[:-1])
    handlers = {path.relative_to(ROOT).as_posix() for path in (ROOT / "handlers").rglob("*.py")}
    assert {name for name in names if name.startswith("handlers/")} == handlers
    paths = {name: asset.path for name, asset in assets.items() if isinstance(asset, pulumi.FileAsset)}
    assert paths["code/b.py"] == "code/b.py"
    assert all(Path(path).resolve().is_file() and not Path(path).is_absolute() for path in paths.values())
    assert [asset.text for asset in assets.values() if isinstance(asset, pulumi.StringAsset)] == ["{}"]
