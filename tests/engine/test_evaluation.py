import pytest

from tokenseg.engine.build import build_model
from tokenseg.engine.evaluation import build_evaluation


def test_the_model_is_asked_for_what_the_metrics_want(config):
    cfg = config("run", "dataloader.evaluator.metrics=[boundary,size,frequency,calibration]")
    evaluation, model = build_evaluation(cfg), build_model(cfg).eval()
    results = evaluation(model)
    assert results["calibration"]["accuracy"] == pytest.approx(results["sem_seg"]["pACC"])
    assert 100 / 3 <= results["calibration"]["confidence"] <= 100  # the likeliest of three classes
    evaluation.check_metric("size/IoU_small")
    with pytest.raises(ValueError, match=r"wanted one that is evaluated: .*frequency/mIoU_tail"):
        evaluation.check_metric("frequency/mIoU_rare")
    asked, ids = [], model.ids
    model.ids = lambda inputs, *also: asked.append(also) or ids(inputs, *also)
    cfg.dataloader.evaluator.metrics = []
    build_evaluation(cfg)(model)
    assert set(asked) == {()}  # scores do not leave the model without a metric that wants them


def test_models_without_regions_are_told(config):
    cfg = config("run", "dataloader.evaluator.metrics=[tokens]")
    with pytest.raises(ValueError, match="has region_weights; wanted a part whose tokens have regions"):
        build_evaluation(cfg)(build_model(cfg).eval())
