"""Presets on a Hub: a real client, and a server on loopback that misbehaves."""

import json
import pathlib

import hub_server
import numpy as np
import pytest
from hub_runs import (
    HERE,
    command,
    find,
    load,
    push,
    read_files,
    weights,
)

import keras_ncsn
from keras_ncsn.hub import addresses
from keras_ncsn.presets import format, sources

WEIGHTS = format.WEIGHTS_FILE


def test_a_pushed_preset_is_loaded_elsewhere_and_offline(
    run, server, folder, tmp_path
):
    pushed = run(push, folder, "owner/preset", HF_TOKEN=server.token)
    assert f"{server.endpoint}/owner/preset/commit/" in pushed
    files = server.repositories["owner/preset"].commits.values()
    assert set(list(files)[-1]) == {
        *(".gitattributes", "README.md", "config.json", "metadata.json"),
        *(WEIGHTS, "samples.png"),
    }
    assert len(server.repositories["owner/preset"].commits) == 2
    empty = str(tmp_path / "elsewhere")
    offline = {"HF_HOME": empty, "HF_HUB_OFFLINE": "1"}
    nothing = run.report(find, **offline)
    assert nothing["error"][0] == "FileNotFoundError"
    assert "HF_HUB_OFFLINE is set" in nothing["error"][1]
    assert run(load, HF_HOME=empty) == load(folder)
    filled = run.report(load, **offline)
    assert filled["result"] == load(folder)
    assert filled["warnings"] == []


def test_revisions_and_subfolders(run, server, published, folder):
    inner = {f"zoo/{name}": data for name, data in read_files(folder).items()}
    oid = published.commit(inner, "second")
    for preset, revision in [
        ("hf://owner/preset/zoo@second", None),
        ("hf://owner/preset/zoo", "second"),
        (f"hf://owner/preset/zoo@{oid}", None),
    ]:
        assert run(find_at, preset, revision) == weights(folder)
    missing = run.report(find_at, "hf://owner/preset/zoo")
    assert "no config.json" in missing["error"][1]
    address = "hf://owner/preset/zoo@second"
    assert run(find_at, address, HF_HUB_OFFLINE="1") == weights(folder)


def find_in_the_cache():
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache("owner/preset", WEIGHTS)
    return find(pathlib.Path(path).parent)


def test_the_folder_in_the_cache_is_a_preset_too(run, published, folder):
    """Of links, which lead to elsewhere in the cache."""
    run(find)
    assert run(find_in_the_cache) == weights(folder)


def find_at(preset, revision=None):
    return find(preset, revision=revision)


def test_private_repositories_need_a_token(run, server, folder):
    secret = {"HF_TOKEN": server.token}
    run(push, folder, "owner/preset", "--private", **secret)
    assert server.repositories["owner/preset"].private
    assert "pass `token` or set HF_TOKEN" in run.report(find)["error"][1]
    assert run(find_with_token) == weights(folder)
    refused = run.report(push, folder, "owner/other")
    assert "pass `token` or set HF_TOKEN" in refused["error"][1]
    for files in server.repositories["owner/preset"].commits.values():
        for content in files.values():
            assert server.token.encode() not in content


def find_with_token():
    return find(token=hub_server.Hub.token)


def test_a_card_that_a_person_edited_stays(run, server, folder):
    secret = {"HF_TOKEN": server.token}
    run(push, folder, "owner/preset", **secret)
    repository = server.repositories["owner/preset"]
    card = newest(repository)["README.md"].decode()
    for line in ("library_name: keras", "from_preset", "samples.png"):
        assert line in card
    # Made by the package, it is made again.
    assert "edited" not in run(push, folder, "owner/preset", **secret)
    edited = card.replace("# preset", "# My preset").encode()
    repository.commit({"README.md": edited}, "main")
    pushed = run(push, folder, "owner/preset", **secret)
    assert "was edited and stays" in pushed
    assert newest(repository)["README.md"] == edited
    shown = run(command, "presets", "show", HERE)
    assert shown.startswith("---")
    assert "My preset" in shown


def newest(repository):
    return repository.commits[repository.branches["main"]]


def test_push_supports_branches_pull_requests_and_dry_runs(run, server, folder):
    secret = {"HF_TOKEN": server.token}
    rehearsed = run(push, folder, "owner/preset", "--dry-run", **secret)
    assert f"{WEIGHTS}\n" in rehearsed
    assert not [1 for method, _ in server.requests if method == "POST"]
    run(push, folder, "owner/preset", "--revision", "trial", **secret)
    repository = server.repositories["owner/preset"]
    assert set(newest(repository)) == {".gitattributes"}
    assert WEIGHTS in repository.commits[repository.branches["trial"]]
    proposed = run(push, folder, "owner/preset", "--create-pr", **secret)
    assert proposed.endswith("/owner/preset/discussions/1\n")
    assert set(newest(repository)) == {".gitattributes"}


def push_from_python():
    model = keras_ncsn.NCSNModel.from_preset(HERE)
    return model.push_to_hub(
        "owner/copy",
        token=hub_server.Hub.token,
        metadata={"license": "apache-2.0"},
        weights_dtype="float16",
    )


def test_a_model_is_pushed_from_python(run, server, published, folder):
    run(push_from_python)
    files = newest(server.repositories["owner/copy"])
    assert b'license: "apache-2.0"' in files["README.md"]
    assert files["samples.png"].startswith(b"\x89PNG")
    assert len(files[WEIGHTS]) < len((folder / WEIGHTS).read_bytes())
    assert len(run(load, "hf://owner/copy")) == len(load(folder))


def zoo_without_weights(folder, name):
    sources.ZOO_FOLDERS = (pathlib.Path(folder),)
    where = command("presets")
    found = find(name)
    return where, found, command("presets")


def test_names_of_the_zoo_come_from_the_hub(
    run, server, published, folder, tmp_path
):
    zoo = tmp_path / "zoo" / "small"
    zoo.mkdir(parents=True)
    published.branches["v1"] = published.branches["main"]
    for name in ("config.json", "metadata.json"):
        (zoo / name).write_bytes((folder / name).read_bytes())
    missing = run.report(zoo_without_weights, zoo.parent, "small")
    assert "not published yet" in missing["error"][1]
    metadata = json.loads((zoo / "metadata.json").read_text())
    metadata |= {"hub_repository": "owner/preset", "hub_revision": "v1"}
    (zoo / "metadata.json").write_text(json.dumps(metadata))
    before, found, after = run(zoo_without_weights, zoo.parent, "small")
    assert found == weights(folder)
    assert "on the Hub" in before
    assert "cached" in after
    (digest,) = metadata["sha256"].values()
    other = metadata | {"sha256": {WEIGHTS: digest[::-1]}}
    (zoo / "metadata.json").write_text(json.dumps(other))
    refused = run.report(zoo_without_weights, zoo.parent, "small")
    assert "must be those that this version" in refused["error"][1]
    # To the version that they were made for, they are still there.
    (zoo / "metadata.json").write_text(json.dumps(metadata))
    asked = len(server.requests)
    assert run(zoo_without_weights, zoo.parent, "small")[1] == found
    assert len(server.requests) == asked


def test_a_new_version_of_a_zoo_preset_gets_its_own_weights(
    run, published, folder, tmp_path
):
    zoo = tmp_path / "zoo" / "small"
    zoo.mkdir(parents=True)
    model = keras_ncsn.NCSNModel.from_preset(folder)
    published.commit({}, "v1")
    for _ in range(2):
        place = {"hub_repository": "owner/preset", "hub_revision": "v1"}
        model.save_to_preset(folder, place)
        for name in ("config.json", "metadata.json"):
            (zoo / name).write_bytes((folder / name).read_bytes())
        published.commit(read_files(folder), "v1")
        found = run(zoo_without_weights, zoo.parent, "small")
        assert found[1] == weights(folder)
        trained = [w + 1.0 for w in model.network.get_weights()]
        model.network.set_weights(trained)


@pytest.mark.parametrize(
    "address",
    [
        "hf://owner",
        "hf://owner/",
        "hf:///repo",
        "hf://../repo",
        "hf://owner/..",
        "hf://owner/repo/../other",
        "hf://owner/repo//etc",
        "hf://owner/repo/.hidden",
        "hf://owner/repo@../main",
        "hf://owner/repo@",
        "hf://owner/repo\n",
        "hf://a--b/repo",
        "hf://owner-/repo",
        "hf://owner/repo.git",
        "hf://owner/repo-",
        "hf://owner/repo.",
        "hf://owner/" + 97 * "x",
    ],
)
def test_addresses_that_leave_the_repository_are_refused(address):
    if address.endswith("@"):
        assert addresses.parse(address).revision is None
        return
    with pytest.raises(ValueError, match="Received"):
        keras_ncsn.NCSNModel.from_preset(address)


@pytest.mark.parametrize(
    "repo_id", ["_owner/_repo", "owner_/r.e-p_o", "o/" + 96 * "x", "a/gitgit"]
)
def test_names_that_the_hub_allows_are_accepted(repo_id):
    assert addresses.parse(f"hf://{repo_id}/x-").repo_id == repo_id


def test_contradicting_revisions_are_refused():
    with pytest.raises(ValueError, match="must not contradict"):
        addresses.parse("hf://owner/repo@a", revision="b")
    with pytest.raises(ValueError, match="preset on the Hub"):
        sources.find(sources.zoo()["mnist"], revision="a")


def generate(folder, preset):
    path = pathlib.Path(folder, "digits.npy")
    options = "--num-images", "2", "--num-steps", "3", "--seed", "0"
    command("generate", preset, *options, "--output", path)
    return np.load(path)


@pytest.mark.slow
def test_the_mnist_preset_survives_a_push_and_a_download(run, server, tmp_path):
    run(push, "mnist", "owner/digits", HF_TOKEN=server.token)
    sent = newest(server.repositories["owner/digits"])
    given = read_files(sources.zoo()["mnist"])
    assert sent.pop("README.md").startswith(given.pop("README.md"))
    for name in sent.keys() & given.keys():
        assert sent[name] == given[name]
    assert {"nearest.png", "samples_256.png", WEIGHTS} <= sent.keys()
    empty = str(tmp_path / "elsewhere")
    address = "hf://owner/digits"
    pulled = run(generate, tmp_path, address, HF_HOME=empty)
    assert pulled.shape == (2, 28, 28, 1)
    offline = {"HF_HOME": empty, "HF_HUB_OFFLINE": "1"}
    before = len(server.requests)
    assert run(find, address, **offline) == weights(sources.zoo()["mnist"])
    assert len(server.requests) == before
