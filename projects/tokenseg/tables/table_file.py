"""Table files: which runs make up the tables of a page, and which of them need others (`make_table.py --help`)."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import yaml

# {name} stands for the folder of that row's run with the same seed; ${name} is a reference inside a config.
_FOLDER_OF = re.compile(r"(?<!\$)\{(\w+)\}")
# The folder of the run itself.
_HERE = "here"


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table: a config that is trained once with every seed.

    Attributes:
        name: The name of the row in the file, by which others refer to it, and of its folder.
        title: What the row is called in the table.
        config: The path of the config.
        seeds: The seeds, one run each.
        overrides: Changes of the config, `key=value` each. `{name}` in them is the folder of that row's run with the
            same seed, which is then made first.
        then: Commands of `tokenseg` that follow the training, such as `export-backbone --output {here}/backbone ...`.
        priority: Runs of a lower number come first.
        without: Titles of the columns that the row has no number for, such as those of tokens where the model has none.
    """

    name: str
    title: str
    config: Path
    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    priority: int = 0
    without: tuple[str, ...] = ()

    @property
    def needs(self) -> list[str]:
        """Names of the rows whose runs come before those of this one."""
        found = {name for text in (*self.overrides, *self.then) for name in _FOLDER_OF.findall(text)}
        return sorted(found - {_HERE})


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """A table.

    Attributes:
        title: The title, which stands above the names of the rows.
        metrics: The columns: a title, and the key of metrics.json.
        rows: The rows.
        baseline: The name of the row that all others are compared with, seed by seed; None for no comparison.
    """

    title: str
    metrics: Mapping[str, str]
    rows: tuple[TableRow, ...]
    baseline: str | None = None


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """What a table file holds: a folder for all runs, and the tables."""

    output: Path
    tables: tuple[ResultTable, ...]

    @property
    def rows(self) -> dict[str, TableRow]:
        """All rows by name, in the order of the file."""
        return {row.name: row for table in self.tables for row in table.rows}


@dataclass(frozen=True, kw_only=True)
class TableRun:
    """One run: a row with one of its seeds.

    Attributes:
        row: The row.
        seed: The seed.
        folder: The output folder of the run.
        overrides: All changes of the config, with folders for the names of rows.
        then: The words of each command that follows the training.
        needs: The runs that come first.
    """

    row: TableRow
    seed: int
    folder: Path
    overrides: tuple[str, ...]
    then: tuple[tuple[str, ...], ...]
    needs: tuple["TableRun", ...] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}"


def read_table_file(path: Path) -> TableFile:
    """Read a table file. Paths of configs are relative to it, the output folder to where the command runs.

    Raises:
        ValueError: The file is not there or no YAML, or has a key that it may not have or lacks one that it must have.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"table file {path} cannot be read: {' '.join(str(error).split())}") from error
    _check_keys(content, f"table file {path}", wanted={"output", "tables"}, other={"seeds", "overrides"})
    seeds, overrides = content.get("seeds", [0, 1, 2]), content.get("overrides", [])
    tables = []
    for table in content["tables"]:
        _check_keys(table, f"a table of {path}", wanted={"title", "metrics", "rows"}, other={"overrides", "baseline"})
        shared = [*overrides, *table.get("overrides", [])]
        rows = [_row(name, values, path, seeds, shared) for name, values in table["rows"].items()]
        _check_columns(rows, table["metrics"], path)
        baseline = table.get("baseline")
        if baseline not in {None, *(row.name for row in rows)}:
            raise ValueError(f"{path} has the baseline '{baseline}'; wanted a row of '{table['title']}'")
        tables.append(ResultTable(title=table["title"], metrics=table["metrics"], rows=tuple(rows), baseline=baseline))
    names = [row.name for table in tables for row in table.rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has two rows named {', '.join(twice)}; wanted a name of its own for each")
    return TableFile(output=Path(content["output"]), tables=tuple(tables))


def _row(name: str, values: Mapping, path: Path, seeds: Sequence[int], overrides: Sequence[str]) -> TableRow:
    optional = {one.name for one in fields(TableRow)} - {"name", "config"}
    _check_keys(values, f"row {name} of {path}", wanted={"config"}, other=optional)
    return TableRow(
        name=name,
        title=values.get("title", name),
        config=path.parent / values["config"],
        seeds=tuple(values.get("seeds", seeds)),
        overrides=(*overrides, *values.get("overrides", [])),
        then=tuple(values.get("then", [])),
        priority=values.get("priority", 0),
        without=tuple(values.get("without", [])),
    )


def _check_columns(rows: Iterable[TableRow], titles: Iterable[str], path: Path) -> None:
    for row in rows:
        if unknown := sorted(set(row.without) - set(titles)):
            raise ValueError(
                f"row {row.name} of {path} is without {', '.join(unknown)}; wanted columns of its table, which are "
                f"{', '.join(titles)}"
            )


def _check_keys(content: object, place: str, *, wanted: set[str], other: Iterable[str] = ()) -> None:
    if not isinstance(content, Mapping):
        raise ValueError(f"{place} is {type(content).__name__}; wanted the keys {', '.join(sorted(wanted))}")
    missing, known = wanted - set(content), wanted | set(other)
    if missing:
        raise ValueError(f"{place} has no {', '.join(sorted(missing))}")
    for key in set(content) - known:
        near = difflib.get_close_matches(str(key), known, n=1)
        raise ValueError(
            f"{place} has a key '{key}'; wanted {', '.join(sorted(known))}" + (f" (nearest: {near[0]})" if near else "")
        )


def chosen_rows(file: TableFile, names: Sequence[str], seeds: Sequence[int]) -> TableFile:
    """The file with some of its rows and seeds, and with the rows that these need.

    Args:
        file: The whole file.
        names: Names of the rows that are kept; none keeps all.
        seeds: The seeds that are kept of each row; none keeps all.

    Raises:
        ValueError: There is no row of a name, or no run is left.
    """
    wanted, todo = set(), [(name, "--rows") for name in names or file.rows]
    while todo:
        name, place = todo.pop()
        needs = _known(file, name, place).needs
        if name not in wanted:
            wanted.add(name)
            todo += [(one, f"row {name}") for one in needs]
    tables = []
    for table in file.tables:
        rows = [row for row in table.rows if row.name in wanted]
        rows = [replace(row, seeds=tuple(one for one in row.seeds if not seeds or one in seeds)) for row in rows]
        tables.append(replace(table, rows=tuple(row for row in rows if row.seeds)))
    if not any(table.rows for table in tables):
        raise ValueError(f"no run is left: --seeds {' '.join(map(str, seeds))} are seeds of no row; wanted others")
    return replace(file, tables=tuple(table for table in tables if table.rows))


def _known(file: TableFile, name: str, place: str) -> TableRow:
    if name not in file.rows:
        raise ValueError(f"{place} names a row '{name}'; wanted some of {', '.join(file.rows)}")
    return file.rows[name]


def planned_runs(file: TableFile, overrides: Sequence[str] = ()) -> list[TableRun]:
    """All runs in the order in which they are made: by priority, then by seed, then as in the file; what a run needs
    comes right before the first run that needs it.

    Args:
        file: What `read_table_file` returned.
        overrides: Changes of the configs of all runs, beside those of the file.

    Raises:
        ValueError: A row needs one that is not there, that has no run with the same seed, or that needs the first.
    """
    places = {name: place for place, name in enumerate(file.rows)}
    asked = [(row.priority, seed, places[row.name], row) for row in file.rows.values() for seed in row.seeds]
    planned: dict[tuple[str, int], TableRun] = {}
    for _, seed, _, row in sorted(asked, key=lambda one: one[:3]):
        _plan(row, seed, file, overrides, planned, ())
    return list(planned.values())


def _plan(
    row: TableRow,
    seed: int,
    file: TableFile,
    overrides: Sequence[str],
    planned: dict[tuple[str, int], TableRun],
    above: tuple[str, ...],
) -> TableRun:
    """Plan a run after those that it needs; `above` are the rows that need this one."""
    if row.name in above:
        raise ValueError(f"row {row.name} needs itself: {' needs '.join((*above, row.name))}")
    if seed not in row.seeds:
        raise ValueError(
            f"row {above[-1]} needs {row.name} with seed {seed}, which has {', '.join(map(str, row.seeds))}"
        )
    if (row.name, seed) not in planned:
        needed = [_known(file, name, f"row {row.name}") for name in row.needs]
        needs = [_plan(one, seed, file, overrides, planned, (*above, row.name)) for one in needed]
        folder = file.output / row.name / f"seed_{seed}"
        folders = {_HERE: folder} | {one.row.name: one.folder for one in needs}

        def filled(text: str) -> str:
            return _FOLDER_OF.sub(lambda found: str(folders[found[1]]), text)

        own = [f"train.seed={seed}", f"train.output_dir={folder}"]
        planned[row.name, seed] = TableRun(
            row=row,
            seed=seed,
            folder=folder,
            overrides=(*map(filled, row.overrides), *overrides, *own),
            then=tuple(tuple(shlex.split(filled(command))) for command in row.then),
            needs=tuple(needs),
        )
    return planned[row.name, seed]
