"""keras-ncsn presets: list the presets, or print the card of one."""

import json

import click


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@click.pass_context
def presets(
    context: click.Context,
    as_json: bool,
) -> None:
    """List the presets, or print the card of one.

    The column `where` tells whether the weights are bundled with the
    package, in the cache, on the Hub, or not published yet.

    \b
    keras-ncsn presets show mnist
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json is for the list, not for a card")
        return
    rows = _rows()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    # Metrics of different data sets do not compare, so only cards show them.
    head = ["name", "image", "parameters", "data", "classes", "steps", "MB"]
    table = [[*head, "where", "license"]]
    for row in rows:
        table.append(
            [
                row["name"],
                row["image"],
                " + ".join(f"{count:,}" for count in _counts(row)),
                row["data"] or "",
                _number(row["class_names"]),
                "" if row["steps"] is None else f"{row['steps']:,}",
                "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}",
                row["where"],
                row["license_name"] or row["license"] or "",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = zip(line, widths, strict=True)
        text = "  ".join(cell.ljust(width) for cell, width in cells)
        click.echo(text.rstrip())
    for row in rows:
        if row["license_link"] is not None:
            click.echo(f"The terms of {row['name']}: {row['license_link']}")


@presets.command()
@click.argument("name")
def show(
    name: str,
) -> None:
    """Print the card of a preset.

    NAME is a name from the list, a folder, or hf://owner/repo.
    """
    from keras_ncsn.presets.sources import read_card
    from keras_ncsn.text import printable

    click.echo(printable(read_card(name)))


def _rows():
    from keras_ncsn.presets import format as folders
    from keras_ncsn.presets import sources
    from keras_ncsn.presets.terms import LICENSE

    rows = []
    for name, folder in sources.zoo().items():
        metadata = folders.read_metadata(folder)
        rows.append(
            {
                "name": name,
                "image": "x".join(map(str, folders.image_shape(folder))),
                "parameters": metadata["parameter_count"],
                "guide_parameters": metadata.get("guide_parameter_count"),
                "data": metadata.get("data"),
                "class_names": metadata.get("class_names"),
                "steps": metadata.get("steps"),
                "bytes": metadata.get("weights_bytes"),
                "where": sources.whereabouts(folder),
                **{name: metadata.get(name) for name in LICENSE},
                "metrics": metadata.get("metrics", {}),
            }
        )
    return rows


def _number(names):
    return "" if names is None else str(len(names))


def _counts(row):
    counts = row["parameters"], row["guide_parameters"]
    return [count for count in counts if count is not None]
