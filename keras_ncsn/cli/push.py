"""keras-ncsn push: publish a preset on the Hugging Face Hub."""

import tempfile

import click

from keras_ncsn.text import one_line

CARD = {
    "new": "There is no card on the Hub yet.",
    "replaced": "The card on the Hub is replaced, as nobody changed it there.",
    "kept": "The card on the Hub was edited and stays as it is. To replace it, "
    "delete it there.",
}
UNSEEN_CARD = (
    "There is no card on the Hub yet, or none that your token, if any, may see."
)


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
    HF_TOKEN. README.md in the folder is the card, else one is made; a card
    that a person edited on the Hub is kept. With the preset go its LICENSE, if
    it has one, and the pictures that the card shows, and no other files.
    `--dry-run` takes no token.

    \b
    keras-ncsn push runs/mine/best owner/repo
    """
    from keras_ncsn.hub import addresses
    from keras_ncsn.presets import publishing, sources

    addresses.check_place(repo_id, revision)
    folder = sources.find(preset)

    from keras_ncsn import NCSNModel

    model = NCSNModel.from_preset(folder)
    published = publishing.ask(repo_id, revision, dry_run=dry_run)
    with tempfile.TemporaryDirectory() as made:
        upload = publishing.prepare(folder, made, model, repo_id, published)
        for name, file in upload.files.items():
            click.echo(f"{file.stat().st_size:>12,}  {one_line(name)}")
        unseen = dry_run and upload.card == "new"
        click.echo(UNSEEN_CARD if unseen else CARD[upload.card])
        if dry_run:
            click.echo(f"Nothing was sent to {repo_id}.")
            return
        click.echo(
            publishing.push(upload, repo_id, private, revision, create_pr)
        )
