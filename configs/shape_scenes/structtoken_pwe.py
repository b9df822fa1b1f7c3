"""StructToken-PWE with the quickstart's backbone, shorter: the yardstick for comparisons on ShapeScenes."""

from ..quickstart import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

train.update(output_dir="./output/shape_scenes_structtoken_pwe", max_iter=800, eval_period=200)
train.amp.enabled = True
optimizer.lr = 2e-3  # of 1e-3, 2e-3 and 4e-3 the best for all three variants
