"""keras-ncsn push: publish a preset on the Hugging Face Hub."""

import pathlib
import shutil
import tempfile

import click


@click.command()
@click.argument("preset")
@click.argument("repo_id", metavar="OWNER/REPO")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--revision", help="Branch to push to. Default: the main one.")
@click.option(
    "--create-pr",
    is_flag=True,
    help="Propose the commit on the Hub rather than make it.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would go up, and send nothing."
)
def push(preset, repo_id, private, revision, create_pr, dry_run):
    """Publish PRESET, a folder or a name, as OWNER/REPO on the Hub.

    The token is that of `hf auth login`, or of the environment variable
    HF_TOKEN. A card that a person edited on the Hub is kept.

    \b
    keras-ncsn push runs/mine/best owner/repo
    """
    from keras_ncsn import NCSNModel, hub, presets, publishing

    hub.check_repo_id(repo_id)
    folder = presets.find(preset)
    model = NCSNModel.from_preset(folder)
    with tempfile.TemporaryDirectory() as copy:
        path = pathlib.Path(copy, "preset")
        path.mkdir()
        own = {presets.CONFIG_FILE, presets.METADATA_FILE}
        own |= presets.checksums(folder).keys()
        for file in folder.iterdir():
            # The Hub's cache is of links; others may lead anywhere.
            if file.is_file() and (file.name in own or not file.is_symlink()):
                shutil.copy(file, path)
        upload = publishing.prepare(path, model, repo_id, revision)
        for name, file in upload.files.items():
            click.echo(f"{file.stat().st_size:>12,}  {name}")
        if upload.keeps_card:
            click.echo("The card on the Hub was edited and stays as it is.")
        if dry_run:
            click.echo(f"Nothing was sent to {repo_id}.")
            return
        click.echo(publishing.push(upload, private, create_pr))
