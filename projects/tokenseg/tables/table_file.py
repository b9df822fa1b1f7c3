"""Table files, which list the runs that make up tables of results, and their dependencies (`make_table.py --help`)."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import yaml

# {name} stands for the folder of the run of row `name` with the same seed. ${name} is an interpolation in a config.
_FOLDER_OF = re.compile(r"(?<!\$)\{(\w+)\}")
# The name that stands for the folder of the run itself.
_HERE = "here"


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One row of a table: a config that is trained once with each seed.

    Attributes:
        name: The name of the row in the file, by which other rows refer to it. It is also the name of its folder.
        title: The title of the row in the table.
        config: The path of the config.
        seeds: The seeds; each is one run.
        overrides: The overrides of the config, each `key=value`. `{name}` in them stands for the folder of the run of
            row `name` with the same seed, which is then trained first.
        then: The `tokenseg` commands to run after the training, such as `export-backbone --output {here}/backbone ...`.
        priority: The priority of the row's runs; those with a lower number are trained first.
        without: The titles of the columns for which the row has no value, such as token metrics of a model without
            tokens.
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
        """The names of the rows whose runs must be finished before those of this row."""
        found = {name for text in (*self.overrides, *self.then) for name in _FOLDER_OF.findall(text)}
        return sorted(found - {_HERE})


@dataclass(frozen=True, kw_only=True)
class ResultTable:
    """A table of results.

    Attributes:
        title: The title of the table, which is the heading of its first column.
        metrics: The further columns: the key in metrics.json for each title.
        rows: The rows.
        baseline: The name of the row with which all others are compared seed by seed; None for no comparison.
    """

    title: str
    metrics: Mapping[str, str]
    rows: tuple[TableRow, ...]
    baseline: str | None = None


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """The content of a table file."""

    output: Path  # the folder for all runs
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
        overrides: All overrides of the config, with the names of rows replaced by folders.
        then: The arguments of each command to run after the training.
        needs: The runs that must be finished before this one.
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
    """Read a table file.

    The paths of configs are relative to the file, and the output folder is relative to the current folder.

    Raises:
        ValueError: The file does not exist or is not YAML, has an unknown key or lacks a required one, has two rows of
            the same name, or names an unknown baseline or column.
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
        raise ValueError(f"{path} has two rows named {', '.join(twice)}; wanted a different name for each row")
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
                f"row {row.name} of {path} lists {', '.join(unknown)} under `without`; wanted columns of its table, "
                f"which are {', '.join(titles)}"
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
    """Select some rows and seeds of a table file. Rows that the selected ones need are kept too.

    Args:
        file: The whole file.
        names: The names of the rows to keep; an empty list keeps all.
        seeds: The seeds to keep of each row; an empty list keeps all.

    Raises:
        ValueError: A row does not exist, or no run remains.
    """
    # Each name to visit comes with the place that mentions it, for the error message.
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
        raise ValueError(
            f"no run remains, since no row has the seeds {' '.join(map(str, seeds))}; wanted other --seeds"
        )
    return replace(file, tables=tuple(table for table in tables if table.rows))


def _known(file: TableFile, name: str, place: str) -> TableRow:
    if name not in file.rows:
        raise ValueError(f"{place} names a row '{name}'; wanted some of {', '.join(file.rows)}")
    return file.rows[name]


def planned_runs(file: TableFile, overrides: Sequence[str] = ()) -> list[TableRun]:
    """List all runs in the order in which they are trained: by priority, then by seed, then as in the file.

    A run that others need comes directly before the first of them.

    Args:
        file: The table file.
        overrides: Further overrides of the configs of all runs.

    Raises:
        ValueError: A row needs a row that does not exist or has no run with the same seed, or rows need each other.
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
    """Add a run to the plan, after the runs that it needs, and return it.

    Args:
        row: The row of the run.
        seed: The seed of the run.
        file: The table file.
        overrides: Further overrides of the configs of all runs.
        planned: The runs planned so far, by row and seed, to which the run is added.
        above: The names of the rows that need this one, directly or indirectly, in order to detect cycles.
    """
    if row.name in above:
        raise ValueError(f"row {row.name} needs itself: {' needs '.join((*above, row.name))}")
    if seed not in row.seeds:
        raise ValueError(
            f"row {above[-1]} needs row {row.name} with seed {seed}, but that row has only the seeds "
            f"{', '.join(map(str, row.seeds))}"
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
