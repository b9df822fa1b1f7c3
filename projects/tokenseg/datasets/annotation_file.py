"""Reading annotation files in COCO's format, and the class names in them."""

import json
import os

from ..plain_text import unprintable


def read_annotations(path: str) -> dict:
    """Read an annotation file for detection in COCO's format.

    Args:
        path: The path of a .json file.

    Returns:
        The content of the file, with lists of mappings under `images`, `annotations` and `categories`.

    Raises:
        ValueError: The file does not exist, or is not in this format.
    """
    if not os.path.isfile(path):
        raise ValueError(f"the annotation file '{path}' does not exist (looked in {os.getcwd()})")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"the annotation file '{path}' cannot be read as JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        items = content.get(key) if isinstance(content, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ValueError(
                f"the annotation file '{path}' has no list of mappings under '{key}'; wanted COCO's format for "
                "detection: images, annotations and categories"
            )
    return content


def category_names(path: str) -> list[str]:
    """Read the names of the classes from an annotation file in COCO's format.

    Args:
        path: The path of the file; ~ stands for the home folder.

    Returns:
        The names, sorted by the ids in the file. Their indices are the class ids of the model, as in Detectron2.

    Raises:
        ValueError: The file cannot be read or has no categories, or categories lack an id or a name or share one.
    """
    return ordered_names(read_annotations(os.path.expanduser(path))["categories"], path=path)


def ordered_names(categories: list[dict], *, path: str) -> list[str]:
    """Sort the names of categories by their ids.

    Args:
        categories: The categories of an annotation file.
        path: The path of the annotation file, for the message.

    Raises:
        ValueError: See `category_names`.
    """
    wrong = [one for one in categories if type(one.get("id")) is not int or not isinstance(one.get("name"), str)]
    if wrong or not categories:
        raise ValueError(
            f"the annotation file '{path}' has {f'the category {wrong[0]}' if wrong else 'no categories'}; wanted "
            'one or more of the form {"id": 1, "name": "dog"}'
        )
    names = {one["id"]: one["name"] for one in sorted(categories, key=lambda one: one["id"])}
    if len(names) < len(categories) or len({*names.values()}) < len(categories):
        raise ValueError(
            f"the annotation file '{path}' has categories with the same id or name; wanted different ids and names"
        )
    if unprintable(names.values()):
        raise ValueError(
            f"the annotation file '{path}' has the categories {', '.join(unprintable(names.values())[:5])}; wanted "
            "names without control characters"
        )
    return [*names.values()]
