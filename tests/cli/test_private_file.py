"""Files with a stack's data: nobody else reads them, and no link leads them elsewhere."""

import ast
import stat
from pathlib import Path

import pytest

from cli.core.private_file import private_file
from local.errors import LocalError

CLI = Path(__file__).parents[2] / "cli"
# Sources of the user's project, and pages of the documentation.
NO_DATA = {"new.py", "reference.py"}


def test_a_new_file_is_not_the_one_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("old")
    path.chmod(0o666)
    with path.open() as opened_by_another:
        with private_file(path, overwrite=True) as file:
            file.write(b"new")
        assert opened_by_another.read() == "old"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_no_link_is_followed(tmp_path: Path, *, overwrite: bool, exists: bool) -> None:
    path, target = tmp_path / "rows", tmp_path / "target"
    path.symlink_to(target)
    if exists:
        target.write_text("precious")
    with (
        pytest.raises(LocalError, match=r"cannot create .*/rows: File exists; name another file"),
        private_file(path, overwrite=overwrite),
    ):
        pass
    assert path.is_symlink()
    assert (target.read_text() if exists else target.exists()) == ("precious" if exists else False)


def test_what_exists_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("old")
    with pytest.raises(LocalError, match="File exists"), private_file(path):
        pass
    assert path.read_text() == "old"


def test_commands_write_files_in_no_other_way() -> None:
    found = {
        str(file.relative_to(CLI))
        for file in CLI.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ("write_text", "write_bytes"))
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute | ast.Name)
            and "open" in (getattr(node.func, "attr", ""), getattr(node.func, "id", ""))
            and any(
                isinstance(each, ast.Constant) and str(each.value).strip("btr+") in ("w", "a", "x")
                for each in node.args
            )
        )
    }
    assert found == NO_DATA
