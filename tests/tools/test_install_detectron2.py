"""The steps of the installer on small files; nothing is downloaded or installed."""

import hashlib
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest

from detectron2_release import sources as detectron2_sources

SCRIPT = Path(__file__).parents[2] / "tools" / "install_detectron2.py"


@pytest.fixture(scope="module")
def installer():
    """The script as a module. It is loaded from its path, since other packages install a top-level ``tools``."""
    spec = importlib.util.spec_from_file_location("install_detectron2_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module there
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


def test_right_count_is_applied_to_matching_files_only(sources):
    rule = detectron2_sources.Substitution("**/*.py", 3, r"\bnp\.(int)\b", r"\1")
    assert detectron2_sources.apply_substitutions(sources, [rule]) == {sources / "a.py", sources / "pkg" / "b.py"}
    assert (sources / "a.py").read_text() == "x = int\ny = np.int32\n"
    assert (sources / "pkg" / "b.py").read_text() == "int(1), int(2)\n"
    assert (sources / "c.txt").read_text() == "np.int\n"


@pytest.mark.parametrize("wanted", [2, 4])
def test_wrong_count_names_files_got_and_wanted_and_writes_nothing(sources, wanted):
    rule = detectron2_sources.Substitution("**/*.py", wanted, r"\bnp\.int\b", "int")
    with pytest.raises(detectron2_sources.InstallError, match=rf"a\.py: 1, .*b\.py: 2\), wanted {wanted}$") as error:
        detectron2_sources.apply_substitutions(sources, [rule])
    assert "matched 3 times" in str(error.value)
    assert (sources / "a.py").read_text() == "x = np.int\ny = np.int32\n"


def test_pattern_found_nowhere_names_the_glob(sources):
    rule = detectron2_sources.Substitution("pkg/*.py", 1, "nowhere", "")
    with pytest.raises(detectron2_sources.InstallError, match=r"^pkg/\*\.py: .* matched 0 times \(none\), wanted 1$"):
        detectron2_sources.apply_substitutions(sources, [rule])


def test_later_rules_see_what_earlier_ones_wrote(sources):
    first = detectron2_sources.Substitution("a.py", 1, r"np\.int$", "one")
    second = detectron2_sources.Substitution("a.py", 1, r"\bone$", "two")
    detectron2_sources.apply_substitutions(sources, [first, second])
    assert (sources / "a.py").read_text().startswith("x = two\n")


def test_every_rule_of_the_table_compiles_and_counts():
    for rule in detectron2_sources.SUBSTITUTIONS:
        re.compile(rule.pattern)
        assert rule.count > 0


def test_sha256(installer, tmp_path):
    path = tmp_path / "source.tar.gz"
    path.write_bytes(b"not the archive")
    got = hashlib.sha256(b"not the archive").hexdigest()
    detectron2_sources.check_sha256(path, got)
    with pytest.raises(
        detectron2_sources.InstallError, match=f"source.tar.gz: its SHA-256 is {got}, wanted {installer.SHA256}"
    ):
        detectron2_sources.check_sha256(path, installer.SHA256)


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
    assert "already installed (0.6 at somewhere)" in capsys.readouterr().err


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


@pytest.fixture
def release(tmp_path):
    """A tiny release: its folder with the layout of upstream, its archives, and the lines of its sums."""
    root = tmp_path / "detectron2-0.5"
    for name in ("detectron2/__init__.py", "detectron2/model_zoo/model_zoo.py", "LICENSE", "tests/np.py", "setup.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = np.int\n")
    for source in detectron2_sources.PROJECTS:
        (root / source).mkdir(parents=True)
    for suffix, count in detectron2_sources.EXPECTED_CONFIGS.items():
        for number in range(count):
            (root / "configs").mkdir(exist_ok=True)
            (root / f"configs/{number}{suffix}").touch()
    (root / "detectron2/projects").mkdir()
    return root


@pytest.mark.parametrize(("kind", "suffix"), [("gztar", ".tar.gz"), ("zip", ".zip")])
def test_archive_of_upstream_becomes_the_layout_of_the_wheel(release, tmp_path, kind, suffix):
    archive = Path(shutil.make_archive(str(tmp_path / "v0.5"), kind, tmp_path, release.name))
    assert archive.name.endswith(suffix)
    root = detectron2_sources.unpack(archive, tmp_path / "source")
    detectron2_sources.arrange(root)
    assert {path.name for path in root.iterdir()} == {"detectron2", "LICENSE"}
    assert (root / "detectron2/model_zoo/configs/0.yaml").exists()
    assert (root / "detectron2/projects/point_rend").is_dir()


@pytest.mark.parametrize(
    ("content", "told"), [(None, "does not exist; wanted"), (b"no archive", r"cannot be unpacked \(.*wanted a .tar.gz")]
)
def test_what_is_no_archive_is_refused(tmp_path, content, told):
    path = tmp_path / "v0.5.tar.gz"
    if content:
        path.write_bytes(content)
    with pytest.raises(detectron2_sources.InstallError, match=told):
        detectron2_sources.unpack(path, tmp_path / "source")


def test_archive_of_something_else_is_refused(sources, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "other"), "zip", sources, "pkg")
    with pytest.raises(detectron2_sources.InstallError, match="has no folder with a package detectron2"):
        detectron2_sources.unpack(Path(archive), tmp_path / "source")


def test_files_that_differ_or_lack_are_all_named(sources):
    sums = "".join(
        f"{hashlib.sha256((sources / name).read_bytes()).hexdigest()}  {name}\n" for name in ("a.py", "pkg/b.py")
    )
    assert detectron2_sources.check_files(sources, sums) == {sources / "a.py", sources / "pkg/b.py"}
    (sources / "a.py").write_text("x = np.int \n")
    (sources / "pkg/b.py").write_text("")
    with pytest.raises(
        detectron2_sources.InstallError, match=r"not those of Detectron2 v0\.5: a\.py, pkg/b\.py; wanted the unch"
    ):
        detectron2_sources.check_files(sources, sums)
    (sources / "a.py").unlink()
    with pytest.raises(detectron2_sources.InstallError, match=r"are missing: a\.py; wanted"):
        detectron2_sources.check_files(sources, sums)


def test_files_that_are_adapted_are_those_with_sums(release, monkeypatch):
    sums = release / "sums"
    sums.write_text(f"{hashlib.sha256((release / 'LICENSE').read_bytes()).hexdigest()}  LICENSE\n")
    monkeypatch.setattr(detectron2_sources, "SUMS", sums)
    monkeypatch.setattr(detectron2_sources, "KEPT", detectron2_sources.KEPT | {"sums"})
    rule = detectron2_sources.Substitution("detectron2/*.py", 1, r"np\.int", "int")
    monkeypatch.setattr(detectron2_sources, "SUBSTITUTIONS", [rule])
    with pytest.raises(
        detectron2_sources.InstallError, match=r"do not name the same files: LICENSE, detectron2/__init__\.py"
    ):
        detectron2_sources.adapt_source(release)


def test_recorded_sums_fit_the_table():
    """For every rule that concerns a single file, there is a sum of that file."""
    lines = detectron2_sources.SUMS.read_text().splitlines()
    names = {line.split()[1] for line in lines}
    assert len(names) == len(lines) and all(len(line.split()[0]) == 64 for line in lines)
    assert {rule.files for rule in detectron2_sources.SUBSTITUTIONS if "*" not in rule.files} <= names
