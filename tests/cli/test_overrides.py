from tokenseg_cli.overrides import split_overrides


def test_overrides_are_told_from_other_words(tmp_path):
    file = tmp_path / "a=b.png"
    file.touch()
    words = ["--seeds", "0", "train.seed=1", "--input", str(file), "model.x={a: 1}", "--flag=3", "c d=e"]
    others, overrides = split_overrides(words)
    assert overrides == ["train.seed=1", "model.x={a: 1}"]
    assert others == ["--seeds", "0", "--input", str(file), "--flag=3", "c d=e"]
