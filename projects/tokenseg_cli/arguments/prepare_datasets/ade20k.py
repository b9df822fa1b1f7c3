"""Prepare ADE20K with the 150 classes of the scene parsing benchmark, as Detectron2 registers it.

Archive: ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu

    ADEChallengeData2016/
      images/{training,validation}/*.jpg         20210 and 2000 images
      annotations/{training,validation}/*.png    grey; 0 is 'other', 1 to 150 are the classes
      objectInfo150.txt, sceneCategories.txt

The command writes all of that to ADEChallengeData2016/, and also annotations_detectron2/{training,validation}/*.png
with the ids that Detectron2 expects: 0 to 149, and 255 for 'other'.

Source of the layout, the ids and the counts: the benchmark's README (github.com/CSAILVision/sceneparsing) and
Detectron2's data/datasets/builtin.py.
"""

from . import parse

__all__ = ["parse"]
