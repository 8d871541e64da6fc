"""keras-ncsn presets: what there is to load."""

import click


@click.command()
def presets():
    """List the presets that come with the package."""
    from keras_ncsn import presets as zoo

    click.echo(f"{'name':<16}{'image':<12}{'parameters':>12}  data")
    for name, folder in zoo.zoo().items():
        metadata = zoo.read_metadata(folder)
        image = "x".join(str(side) for side in zoo.image_shape(folder))
        click.echo(
            f"{name:<16}{image:<12}{metadata['parameter_count']:>12,}  "
            f"{metadata.get('data', '')}"
        )
