"""The installer's own steps, on small files; nothing is fetched and nothing is installed."""

import hashlib
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "install_detectron2.py"


@pytest.fixture(scope="module")
def installer():
    """The script as a module, loaded from its path: other packages install a top-level ``tools``."""
    spec = importlib.util.spec_from_file_location("install_detectron2_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def sources(tmp_path):
    """Three files, two of them with matches of ``np.int``."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "a.py").write_text("x = np.int\ny = np.int32\n")
    (tmp_path / "pkg" / "b.py").write_text("np.int(1), np.int(2)\n")
    (tmp_path / "c.txt").write_text("np.int\n")
    return tmp_path


def test_right_count_is_applied_to_matching_files_only(installer, sources):
    rule = installer.Substitution("**/*.py", 3, r"\bnp\.(int)\b", r"\1")
    assert installer.apply_substitutions(sources, [rule]) == {sources / "a.py", sources / "pkg" / "b.py"}
    assert (sources / "a.py").read_text() == "x = int\ny = np.int32\n"
    assert (sources / "pkg" / "b.py").read_text() == "int(1), int(2)\n"
    assert (sources / "c.txt").read_text() == "np.int\n"


@pytest.mark.parametrize("wanted", [2, 4])
def test_wrong_count_names_files_got_and_wanted_and_writes_nothing(installer, sources, wanted):
    rule = installer.Substitution("**/*.py", wanted, r"\bnp\.int\b", "int")
    with pytest.raises(installer.InstallError, match=rf"a\.py: 1, .*b\.py: 2\), wanted {wanted}$") as error:
        installer.apply_substitutions(sources, [rule])
    assert "matched 3 times" in str(error.value)
    assert (sources / "a.py").read_text() == "x = np.int\ny = np.int32\n"


def test_pattern_found_nowhere_names_the_glob(installer, sources):
    rule = installer.Substitution("pkg/*.py", 1, "nowhere", "")
    with pytest.raises(installer.InstallError, match=r"^pkg/\*\.py: .* matched 0 times \(none\), wanted 1$"):
        installer.apply_substitutions(sources, [rule])


def test_later_rules_see_what_earlier_ones_wrote(installer, sources):
    first = installer.Substitution("a.py", 1, r"np\.int$", "one")
    second = installer.Substitution("a.py", 1, r"\bone$", "two")
    installer.apply_substitutions(sources, [first, second])
    assert (sources / "a.py").read_text().startswith("x = two\n")


def test_every_rule_of_the_table_compiles_and_counts(installer):
    for rule in installer.SUBSTITUTIONS:
        installer.re.compile(rule.pattern)
        assert rule.count > 0


def test_sha256(installer, tmp_path):
    path = tmp_path / "source.tar.gz"
    path.write_bytes(b"not the archive")
    got = hashlib.sha256(b"not the archive").hexdigest()
    installer.check_sha256(path, got)
    with pytest.raises(installer.InstallError, match=f"source.tar.gz: its SHA-256 is {got}, wanted {installer.SHA256}"):
        installer.check_sha256(path, installer.SHA256)


def test_missing_torch_is_said(installer, monkeypatch, capsys):
    monkeypatch.setattr(installer.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(installer, "installed_detectron2", lambda: None)
    assert installer.main([]) == 1
    assert "torch and torchvision not found" in capsys.readouterr().err


def test_detectron2_that_is_there_is_left_alone(installer, monkeypatch, capsys):
    monkeypatch.setattr(installer, "installed_detectron2", lambda: "0.6 at somewhere")
    monkeypatch.setattr(installer, "run_pip", lambda *arguments, **_: pytest.fail(f"pip {arguments}"))
    assert installer.main(["--skip-if-present"]) == 0
    assert installer.main([]) == 1
    assert "there already (0.6 at somewhere)" in capsys.readouterr().err


@pytest.mark.parametrize(("version", "there"), [("0.6", True), ("0.5", True), ("0.5+py1", True), ("0.5+py0", False)])
def test_only_an_earlier_form_of_our_own_is_replaced(installer, monkeypatch, tmp_path, version, there):
    metadata = tmp_path / f"detectron2-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: detectron2\nVersion: {version}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = installer.installed_detectron2()
    assert found == (f"{version} at {tmp_path}" if there else None)


def test_rest_of_an_interrupted_installation_does_not_count(installer, monkeypatch, tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "detectron2", raising=False)
    monkeypatch.setattr(installer.sysconfig, "get_path", lambda name: str(tmp_path / "site-packages"))
    assert installer.installed_detectron2() == str(tmp_path / "detectron2" / "__init__.py")  # a checkout, say
    monkeypatch.setattr(installer.sysconfig, "get_path", lambda name: str(tmp_path))
    assert installer.installed_detectron2() is None
