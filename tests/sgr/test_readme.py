from pathlib import Path

import torch

README = Path(__file__).resolve().parents[2] / "projects/tokenseg/sgr/README.md"


def test_the_readme_puts_sgr_into_a_model():
    code, names = README.read_text().split("```python\n")[1].split("```")[0], {}
    exec(compile(code, str(README), "exec"), names)
    features, losses = names["features"], names["losses"]
    assert features["res5"].shape == (2, 512, 3, 3) and features["res5_regions"].shape == (2, 512, 3, 3)
    sum(losses.values()).backward()
    component = names["backbone"].components["res5"]
    assert component.concepts.weight.grad.abs().sum() > 0 and all(torch.isfinite(x) for x in losses.values())
    # ten statements beside the imports
    assert len([line for line in code.splitlines() if line and "import" not in line]) <= 10
