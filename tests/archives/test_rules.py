import pytest

from tokenseg.archives.reading import Entry
from tokenseg.archives.rules import FileRule, apply_rules


@pytest.mark.parametrize("name", ["images/../../out.jpg", "images//out.jpg"])
def test_names_do_not_lead_out_of_the_folder(tmp_path, name):
    rule = FileRule(pattern="images/(.*)", target=lambda match: match[1])
    with pytest.raises(ValueError, match=r"out\.jpg would be written outside of .*data; wanted"):
        apply_rules([Entry(name=name, read=lambda: b"")], [rule], tmp_path / "data", desc="")
    assert not [*tmp_path.rglob("out.jpg")]
