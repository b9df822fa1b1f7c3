import pytest

from tokenseg_cli.run import parse


@pytest.mark.parametrize(
    ("command", "output", "told"),
    [
        ("demo", "file", "--output is .*file, but .*file is a file; wanted a folder"),
        ("demo", "file/in", "--output is .*in, but .*file is a file; wanted a folder"),
        ("compare", "file", "wanted a folder"),
        ("publish", "file", "wanted a folder"),
        ("visualize_tokens", "", "--output is .*, which is a folder; wanted a file"),
        ("visualize_tokens", "a.txt", r"wanted a name that ends in \.png, \.jpg"),
        ("visualize_tokens", "file/a.png", "the folder of --output is .*file, but"),
    ],
)
def test_outputs_of_the_wrong_kind(tmp_path, command, output, told):
    (tmp_path / "file").touch()
    inputs = {"publish": ["run"], "compare": ["--config-file", "c.py"]}
    words = inputs.get(command, ["--config-file", "c.py", "--weights", "w", "--input", "i"])
    words = [*words, "--output", str(tmp_path / output)]
    with pytest.raises(ValueError, match=told):
        parse(f"tokenseg_cli.arguments.{command}", [command, *words])
