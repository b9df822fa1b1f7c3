"""StructToken-PWE as in the quickstart, but with a shorter training: the reference for comparisons on ShapeScenes."""

from ..quickstart import dataloader, dataset, lr_multiplier, model, optimizer, train, vit

train.update(output_dir="./output/shape_scenes_structtoken_pwe", max_iter=800, eval_period=200)
train.amp.enabled = True
optimizer.lr = 2e-3  # the best of 1e-3, 2e-3 and 4e-3 for all three variants
