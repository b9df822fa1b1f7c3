"""The facts about the release that install_detectron2.py adapts, and the changes it makes."""
