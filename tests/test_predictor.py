import numpy as np
import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from detectron2.data import get_detection_dataset_dicts
from omegaconf import OmegaConf
from PIL import Image

from detectors import narrow_config
from tokenseg import Predictor
from tokenseg.config.load import load_config
from tokenseg.inference.policy import SlidingWindow
from tokenseg.inspection import detector_regions


@pytest.fixture
def image():
    return np.random.randint(0, 256, (30, 41, 3), dtype=np.uint8)


@pytest.fixture(params=["RGB", "BGR"])
def predictor(request, toy_predictor):
    return Predictor(*toy_predictor, overrides=[f"dataloader.test.mapper.image_format={request.param}"])


def test_ids_are_the_best_scores(predictor, image):
    ids, scores = predictor(image), predictor.scores(image)
    assert ids.shape == (30, 41) and ids.dtype == np.int64 and scores.shape == (3, 30, 41)
    assert np.array_equal(ids, scores.numpy().argmax(axis=0)) and len(np.unique(ids)) > 1
    assert not scores.requires_grad


def test_arrays_equal_files(predictor, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.png")
    before = image.copy()
    assert np.array_equal(predictor(image), predictor(tmp_path / "a.png"))
    assert np.array_equal(predictor(image), predictor(str(tmp_path / "a.png")))
    assert np.array_equal(image, before)


def test_images_of_pillow_and_tensors_equal_arrays(predictor, image):
    wanted = predictor(image)
    assert np.array_equal(predictor(Image.fromarray(image)), wanted)
    assert np.array_equal(predictor(torch.from_numpy(image).permute(2, 0, 1)), wanted)


def test_pillow_turns_images_as_files_say(toy_predictor, image, tmp_path):
    predictor, exif = Predictor(*toy_predictor), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "turned.png", exif=exif)
    ids = predictor(Image.open(tmp_path / "turned.png"))
    assert ids.shape == (41, 30) and np.array_equal(ids, predictor(tmp_path / "turned.png"))


@pytest.fixture
def mixed(image, tmp_path):
    """Seven images of three sizes and of all types."""
    wide, high = image[:10], image[:, :20]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    tensor = torch.from_numpy(high[::-1].copy()).permute(2, 0, 1)
    return [image, tmp_path / "wide.png", image[::-1], Image.fromarray(high), tensor, image[:, ::-1], image]


def test_a_list_gives_what_its_images_give_one_by_one(toy_predictor, mixed):
    predictor = Predictor(*toy_predictor, batch_size=5)
    batches = []
    predictor.model.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    for many, one in zip(predictor(mixed), mixed, strict=True):
        assert np.array_equal(many, predictor(one))
    for many, one in zip(predictor.scores(mixed), mixed, strict=True):
        torch.testing.assert_close(many, predictor.scores(one), rtol=0, atol=1e-6)
    assert [output["sem_seg"].shape[-2:] for output in predictor.outputs(mixed[:2])] == [(30, 41), (10, 41)]
    predictor.outputs(mixed)
    # In the first batch of five, two images have one size and two another; the last two have the same size.
    assert batches == [1, 1, 2, 1, 2, 2] and predictor([]) == []


def test_a_list_for_a_detector(toy_detector, image):
    predictor = Predictor(*toy_detector)
    several = predictor([image, image[::-1].copy()])
    for found, one in zip(several, (image, image[::-1]), strict=True):
        alone = predictor(one)
        assert len(found) == len(alone) > 0
        torch.testing.assert_close(found.pred_boxes.tensor, alone.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
    assert torch.equal(predictor.outputs(image)["instances"].scores, predictor(image).scores)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"shape \(4, 4, 3\) .*; wanted a tensor \(3, H, W\) of uint8"),
        (torch.zeros(3, 4, 4), "type torch.float32; .* a tensor .* of uint8 grey levels from 0 to 255"),
        (Image.new("I;16", (4, 4)), "integers of more than 8 bits .*; wanted 8 bits per channel"),
        (Image.new("RGB", (0, 4)), "no pixel"),
        (7, "a int; wanted a path, a Pillow image, an .* array or a .* tensor, or a list of them"),
    ],
)
def test_wrong_images_are_named_by_their_place(toy_predictor, image, wrong, message):
    with pytest.raises(ValueError, match=f"image 1 of the list .*{message}"):
        Predictor(*toy_predictor)([image, wrong])


def test_a_batch_has_an_image(toy_predictor):
    with pytest.raises(ValueError, match="batch_size is 0; wanted a whole number of 1 or more"):
        Predictor(*toy_predictor, batch_size=0)


def test_it_predicts_what_the_evaluation_sees(toy_predictor, toy_dataset):
    predictor = Predictor(*toy_predictor)
    record = next(iter(instantiate(load_config(toy_predictor[0]).dataloader.test)))[0]
    wanted = predictor.model([record])[0]["sem_seg"]
    assert wanted.shape[-2:] == (record["height"], record["width"])
    assert np.array_equal(predictor(record["file_name"]), wanted.max(dim=0).indices.numpy())
    assert predictor.metadata.stuff_classes == ["red", "green", "blue"]


def test_several_scales_are_those_of_the_evaluation(toy_predictor):
    """Each view is made from the pixels of the file, by the predictor as by the loader."""
    overrides = ["train.tta.enabled=true", "train.tta.scales=[0.5,2.0]"]
    predictor = Predictor(*toy_predictor, overrides=overrides)
    cfg = load_config(toy_predictor[0], [*overrides, "dataloader.test.mapper.keep_original=true"])
    record = next(iter(instantiate(cfg.dataloader.test)))[0]
    assert np.array_equal(predictor(record["file_name"]), predictor.model.class_ids([record])[0].numpy())
    views = [record["original"].at_scale(scale).shape[-2:] for scale in (0.5, 2.0)]
    assert [min(view) for view in views] == [12, 48]


NO_RESIZE = "dataloader.test.mapper.augmentations=[]"


def test_large_images_are_what_the_sliding_window_gives(toy_predictor, tmp_path):
    Image.effect_noise((61, 47), 90).convert("RGB").save(tmp_path / "a.png")
    predictor = Predictor(*toy_predictor, overrides=[NO_RESIZE])
    predictor.model.inference = SlidingWindow(window=20, stride=13)
    found, wanted = predictor.raster_ids(tmp_path / "a.png"), predictor(tmp_path / "a.png")
    assert found.dtype == np.uint8 and len(np.unique(found)) > 1 and np.array_equal(found, wanted)
    # Windows make no difference, since the class of a pixel depends only on this pixel.
    assert np.array_equal(predictor.raster_ids(tmp_path / "a.png", window=30), wanted)


@pytest.mark.parametrize(
    ("overrides", "window", "told"),
    [([], 16, r"a\.png has 47x61 pixels.*ResizeToBase.*augmentations=\[\]"), ([NO_RESIZE], None, "wanted the side")],
)
def test_large_images_are_neither_resized_nor_run_whole(toy_predictor, tmp_path, overrides, window, told):
    Image.new("RGB", (61, 47)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=told):
        Predictor(*toy_predictor, overrides=overrides).raster_ids(tmp_path / "a.png", window=window)


def test_arrays_of_deep_bands_equal_files(toy_predictor, tmp_path):
    overrides = ["dataloader.test.mapper.bands=[a,b,c]", "dataloader.test.mapper.value_range=[0,4095]"]
    predictor, bands = (
        Predictor(*toy_predictor, overrides=overrides),
        np.random.randint(0, 4096, (30, 41, 3), np.uint16),
    )
    np.save(tmp_path / "a.npy", bands)
    found = predictor(bands)
    assert np.array_equal(found, predictor(tmp_path / "a.npy")) and len(np.unique(found)) > 1
    with pytest.raises(ValueError, match="the image has 4 bands; wanted 3"):
        predictor(np.zeros((4, 4, 4), np.uint16))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_wrong_arrays_are_refused(toy_predictor, wrong):
    with pytest.raises(ValueError, match=r"wanted \(H, W, 3\) uint8"):
        Predictor(*toy_predictor)(wrong)


def test_unreadable_files_are_told(toy_predictor, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for name in ("a.png", "none.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            Predictor(*toy_predictor)(tmp_path / name)


@pytest.mark.parametrize("weights", ["", "none.pth"])
def test_weights_must_be_there(toy_predictor, weights):
    with pytest.raises(ValueError, match="weights"):
        Predictor(toy_predictor[0], weights)


def test_a_given_config_stays_as_it_was(toy_predictor):
    config = load_config(toy_predictor[0])
    before = OmegaConf.to_container(config)
    Predictor(config, toy_predictor[1], overrides=["train.amp.enabled=true", "train.device=auto"])
    assert OmegaConf.to_container(config) == before


def test_instances_are_those_of_the_evaluation(toy_detector):
    predictor = Predictor(*toy_detector)
    record = next(iter(instantiate(load_config(toy_detector[0]).dataloader.test)))[0]
    with torch.no_grad():
        wanted = predictor.model([record])[0]["instances"]
    found = predictor(record["file_name"])
    assert found.image_size == (40, 48) and len(found) > 3 and predictor.class_names == ["a", "b"]
    assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor) and found.pred_masks.shape[1:] == (40, 48)
    for field in ("scores", "pred_classes", "pred_masks"):
        assert torch.equal(found.get(field), wanted.get(field))
    middle = found.scores.median().item()
    assert 0 < len(predictor(record["file_name"], confidence_threshold=middle)) == (found.scores >= middle).sum()


def test_regions_of_the_tokens_below_a_pyramid(toy_detector):
    predictor = Predictor(*toy_detector)
    record = next(iter(instantiate(load_config(toy_detector[0]).dataloader.test)))[0]
    regions = predictor.regions(record["file_name"])
    tokens = predictor.model.backbone.bottom_up
    with torch.no_grad():
        weights = tokens.region_weights(tokens(predictor.model.preprocess_image([record]).tensor))
    assert weights.shape == (1, 12, 2, 3)  # 64 x 77 pixels, padded to 96 columns, at stride 32
    assert np.array_equal(regions, weights[0].numpy())


def test_what_a_detector_does_not_give(toy_detector, image):
    predictor = Predictor(*toy_detector)
    for ask, message in [
        (lambda: predictor.scores(image), "GeneralizedRCNN gives no scores of each class .*; wanted a Segmentor"),
        (lambda: predictor.token_maps(image, [0]), "GeneralizedRCNN gives no maps of classes .*; wanted a Segmentor"),
        (lambda: predictor.class_ids(image), "GeneralizedRCNN gives no class ids"),
        (lambda: predictor(image, confidence_threshold=50), "confidence_threshold is 50; wanted a number from 0 to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            ask()


def test_what_a_segmentor_does_not_give(toy_predictor, image):
    predictor = Predictor(*toy_predictor)
    with pytest.raises(ValueError, match="predicts class ids and no instances; wanted a detector"):
        predictor.instances(image)
    with pytest.raises(ValueError, match=r"confidence_threshold is 0\.5, but Segmentor"):
        predictor(image, confidence_threshold=0.5)


def test_detectron2s_own_test_loader_names_the_data_too(toy_predictor, toy_dataset):
    config = load_config(toy_predictor[0])
    config.dataloader.test.dataset = L(get_detection_dataset_dicts)(names=[toy_dataset, "another"], filter_empty=False)
    assert Predictor(config, toy_predictor[1]).metadata.name == toy_dataset


def test_a_detector_without_tokens_has_no_regions():
    model = instantiate(narrow_config("fpn_resnet_101").model)
    with pytest.raises(ValueError, match=r"backbone \(FPN\) has region_weights; wanted a part whose tokens"):
        detector_regions(model, torch.zeros(3, 32, 32))
