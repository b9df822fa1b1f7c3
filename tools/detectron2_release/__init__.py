"""What install_detectron2.py knows of the release that it adapts."""
