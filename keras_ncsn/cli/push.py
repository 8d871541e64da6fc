"""keras-ncsn push: publish a preset on the Hugging Face Hub."""

import tempfile

import click

from keras_ncsn.text import one_line

CARD = {
    "new": "There is no card on the Hub yet.",
    "replaced": "The card on the Hub is replaced: nobody changed it there.",
    "kept": "The card on the Hub was edited and stays as it is. To replace it, "
    "delete it there.",
}
UNSEEN_CARD = (
    "There is no card on the Hub yet, or your token (if any) cannot see it."
)


@click.command()
@click.argument("preset")
@click.argument("repo_id", metavar="OWNER/REPO")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option("--revision", help="Branch to push to. Default: main.")
@click.option(
    "--create-pr",
    is_flag=True,
    help="Open a pull request on the Hub instead of a direct commit.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="List the files that would be sent, and send nothing. This needs no "
    "token.",
)
def push(
    preset: str,
    repo_id: str,
    private: bool,
    revision: str | None,
    create_pr: bool,
    dry_run: bool,
) -> None:
    """Publish a preset on the Hugging Face Hub.

    PRESET is a folder or a name. The token comes from `hf auth login` or the
    environment variable HF_TOKEN.

    The card is README.md of the folder; without one, a card is generated. A
    card that somebody edited on the Hub stays. The preset, its LICENSE if
    there is one, and the pictures that the card shows are sent, and no other
    files.

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
