import os
import pathlib
import pickle
import sys
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from contract import randomize
from fuzzing import few_or_many, fuzz, mutations
from hypothesis import given
from keras import ops

from keras_ncsn import NCSNModel, samplers
from keras_ncsn.backend import BACKEND
from keras_ncsn.conversion import checkpoints
from keras_ncsn.conversion.checkpoints import load_checkpoint, load_model
from keras_ncsn.networks import RefineNet
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.training import step

torch = pytest.importorskip("torch", reason="PyTorch reads these files")

DATA = pathlib.Path(__file__).parent / "data"
NCSN = DATA / "ncsn_28x28x1_ngf8.pth"
NCSNV2 = DATA / "ncsnv2_32x32x3_ngf8.pth"


@pytest.fixture(
    scope="module",
    params=["ncsn_28x28x1_ngf8", "ncsn_32x32x3_ngf8", "ncsnv2_32x32x3_ngf8"],
)
def golden(request):
    network, schedule = load_checkpoint(DATA / f"{request.param}.pth")
    with np.load(DATA / f"{request.param}.npz") as arrays:
        return network, schedule, dict(arrays)


@pytest.fixture(scope="module")
def built():
    """Networks by their arguments."""
    return {}


@pytest.fixture(autouse=True)
def build_each_network_once(built, monkeypatch):
    """Reading a checkpoint takes less time than building its network."""

    def build(image_shape, width, sigmas):
        key = image_shape, width, None if sigmas is None else tuple(sigmas)
        if key not in built:
            built[key] = RefineNet(image_shape, width, sigmas)
        # No weight of another test is left.
        randomize(built[key])
        return built[key]

    monkeypatch.setattr(checkpoints, "RefineNet", build)


def score(network, x, sigma):
    # TensorFlow takes seconds to trace what it calls a few times.
    network.run_eagerly = BACKEND == "tensorflow"
    sigma = np.broadcast_to(sigma, len(x)).astype("float32")
    return network.predict_on_batch([x.astype("float32"), sigma])


def assert_each_close(outputs, expected, rtol=1e-4):
    """Relative to each example's own scale: scores differ by 10,000 times."""
    axes = tuple(range(1, expected.ndim))
    scale = np.abs(expected).max(axis=axes)
    error = np.abs(outputs - expected).max(axis=axes)
    np.testing.assert_array_less(error, rtol * scale)


def langevin(network, schedule, arrays):
    """Annealed Langevin dynamics with the stored noise, in plain NumPy."""
    x = arrays["x"]
    levels = arrays["langevin_levels"]
    for level, noises in zip(levels, arrays["langevin_noise"], strict=True):
        sigma = schedule.sigmas[level]
        step = arrays["step_lr"] * (sigma / schedule.sigma_min) ** 2
        for noise in noises:
            drift = step * score(network, x, sigma)
            x = x + drift + np.sqrt(2 * step) * noise
    return x


def test_schedule(golden):
    _, schedule, arrays = golden
    np.testing.assert_allclose(schedule.sigmas, arrays["sigmas"], rtol=1e-6)


def test_score(golden):
    network, schedule, arrays = golden
    outputs = score(network, arrays["x"], schedule.sigmas[arrays["labels"]])
    assert_each_close(outputs, arrays["score"])


def test_loss(golden):
    network, schedule, arrays = golden
    sigma = schedule.sigmas[arrays["labels"]]
    spread = sigma.reshape(-1, 1, 1, 1)
    noise = arrays["noise"]
    outputs = score(network, arrays["x"] + spread * noise, sigma)
    losses = 0.5 * np.sum((spread * outputs + noise) ** 2, axis=(1, 2, 3))
    assert_each_close(losses, arrays["dsm_per_example"])


def test_langevin(golden):
    network, schedule, arrays = golden
    x = langevin(network, schedule, arrays)
    assert_each_close(x, arrays["langevin_result"])
    x = x + schedule.sigma_min**2 * score(network, x, schedule.sigma_min)
    assert_each_close(x, arrays["langevin_denoised"])


def load(tmp_path, checkpoint, **kwargs):
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    return load_checkpoint(tmp_path / "checkpoint.pth", **kwargs)


def read(path):
    checkpoint = torch.load(path, weights_only=True)
    for name, parameter in checkpoint[0].items():
        checkpoint[0][name] = parameter.detach()
    return checkpoint


def without_module(state):
    return {name.removeprefix("module."): state[name] for name in state}


def begin_bias(network):
    return ops.convert_to_numpy(network.get_layer("begin_conv").bias)


def test_bare_state_dict_without_prefix(tmp_path):
    state = without_module(read(NCSN)[0])
    network, _ = load(tmp_path, state)
    np.testing.assert_array_equal(begin_bias(network), state["begin_conv.bias"])


def test_average_is_used_unless_raw():
    raw, _, _, _, averaged = read(NCSNV2)
    np.testing.assert_array_equal(
        begin_bias(load_checkpoint(NCSNV2)[0]),
        averaged["begin_conv.bias"].detach(),
    )
    np.testing.assert_array_equal(
        begin_bias(load_checkpoint(NCSNV2, raw=True)[0]),
        raw["module.begin_conv.bias"],
    )


def test_raw_weights_are_used_without_an_average(tmp_path):
    checkpoint = read(NCSNV2)[:4]
    network, _ = load(tmp_path, checkpoint)
    np.testing.assert_array_equal(
        begin_bias(network), checkpoint[0]["module.begin_conv.bias"]
    )


def test_image_size_and_ladder_are_arguments():
    network, schedule = load_checkpoint(
        NCSN, image_size=12, sigma_max=2.0, sigma_min=0.1
    )
    assert network.image_shape == (12, 12, 1)
    assert network.sigmas == schedule.sigmas.tolist()
    assert (schedule.sigma_max, schedule.sigma_min) == (2.0, 0.1)


@pytest.mark.parametrize("name", ["sigma_max", "sigma_min"])
def test_noise_levels_of_ncsnv2_cannot_be_changed(name):
    with pytest.raises(ValueError, match=f"holds its own.*{name}=0.5"):
        load_checkpoint(NCSNV2, **{name: 0.5})


def test_missing_file():
    with pytest.raises(ValueError, match="exists.*no_such_file.pth"):
        load_checkpoint("no_such_file.pth")


@pytest.mark.parametrize("size", [0, 10, 1000, 1_000_000])
def test_truncated_file(tmp_path, size):
    path = tmp_path / "truncated.pth"
    path.write_bytes(NCSN.read_bytes()[:size])
    with pytest.raises(ValueError, match="whole PyTorch file.*truncated.pth"):
        load_checkpoint(path)


@pytest.mark.parametrize("pickled", [b".", b"]a.", b")R.", b"X\xff"])
def test_damaged_file(tmp_path, pickled):
    path = tmp_path / "damaged.pth"
    path.write_bytes(b"\x80\x02" + pickled)
    with pytest.raises(ValueError, match="whole PyTorch file.*damaged.pth"):
        load_checkpoint(path)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def dump(checkpoint, file):
    pickle.dump(checkpoint, file, protocol=2)


@pytest.mark.parametrize("save", [torch.save, dump])
def test_code_in_the_file_does_not_run(tmp_path, save):
    path, victim = tmp_path / "malicious.pth", tmp_path / "victim"
    with open(path, "wb") as file:
        save([{"weight": Malicious(str(victim))}], file)
    with pytest.raises(ValueError, match="could run code.*malicious.pth"):
        load_checkpoint(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    "checkpoint", [3, [], [3], {"begin_conv.weight": 3}, {"model": {}}]
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, checkpoint):
    with pytest.raises(ValueError, match="must hold a `state_dict`"):
        load(tmp_path, checkpoint)


def test_names_must_differ_without_the_prefix(tmp_path):
    state = read(NCSN)[0]
    state["begin_conv.bias"] = torch.zeros(8)
    with pytest.raises(ValueError, match="one tensor.*'begin_conv.bias'"):
        load(tmp_path, state)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (3, torch.ones(8)),
        ("odd", torch.ones(8, dtype=torch.complex64)),
        ("odd", torch.tensor([1.0, float("nan")])),
        ("odd", torch.tensor([1.0, float("inf")])),
        ("odd", torch.tensor([1e300], dtype=torch.float64)),
    ],
)
def test_tensors_must_be_dense_and_finite(tmp_path, name, tensor):
    state = read(NCSN)[0] | {name: tensor}
    with pytest.raises(ValueError, match=f"dense.*finite.*where {name!r}"):
        load(tmp_path, state)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(8).to_sparse(),
        lambda: torch.eye(8).to_sparse_csr(),
        lambda: torch.ones(8, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.qint8),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    ],
)
def test_tensors_of_other_kinds_are_not_made(tmp_path, make):
    with pytest.raises(ValueError, match="its pickle names torch._utils _reb"):
        load(tmp_path, {"odd": make()})


def test_a_scalar_in_place_of_the_table_is_refused(tmp_path):
    state = read(NCSN)[0]
    state["module.normalizer.embed.weight"] = torch.tensor(1.0)
    with pytest.raises(ValueError, match="the table .*with neither"):
        load(tmp_path, state)


@pytest.mark.parametrize("shape", [(8,), (8, 4)])
def test_checkpoints_of_other_networks_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="NCSN or NCSNv2.*with layer.weight"):
        load(tmp_path, {"layer.weight": torch.ones(shape)})
    with pytest.raises(ValueError, match="kernel `begin_conv.weight`"):
        load(tmp_path, {"begin_conv.weight": torch.ones(shape)})


def test_a_file_without_table_or_ladder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`sigmas`.*with neither"):
        load(tmp_path, {"begin_conv.weight": torch.ones((8, 1, 3, 3))})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"res1.0.conv1.bias": None}, "res1.0.conv1.bias are missing"),
        (
            {"res5.0.conv1.bias": torch.ones(3)},
            "res5.0.conv1.bias are left over",
        ),
        (
            {"res3.0.conv1.weight": torch.ones(16, 16, 5, 3)},
            r"res3.0.conv1.weight \(5, 3, 16, 16\), not \(3, 3, 16, 16\)",
        ),
        (
            {"res3.0.normalize1.embed.weight": torch.ones(9, 48)},
            r"res3.0.normalize1.embed.weight \(9, 48\), not \(10, 48\)",
        ),
    ],
)
def test_tensors_must_fit(tmp_path, changes, message):
    state = without_module(read(NCSN)[0]) | changes
    state = {name: state[name] for name in state if state[name] is not None}
    with pytest.raises(ValueError, match=message):
        load(tmp_path, state, image_size=8)


def refuse(path, message, **kwargs):
    with pytest.raises(ValueError, match=message) as raised:
        load_checkpoint(path, **kwargs)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2000


def named_pipe(path):
    os.mkfifo(path)


def link_to_a_named_pipe(path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def link_to_a_device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "make",
    [named_pipe, link_to_a_named_pipe, link_to_a_device, pathlib.Path.mkdir],
)
def test_only_regular_files_are_read(tmp_path, make, alarm):
    make(tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", "whole PyTorch file.*regular file, and is a ")


def repack(path, change, compression=zipfile.ZIP_STORED):
    """Writes a file of PyTorch anew, its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = [(x.filename, archive.read(x)) for x in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in change(members):
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_compressed_members_are_not_unpacked(
    tmp_path, compression, monkeypatch
):
    path = tmp_path / "bomb.pth"
    torch.save(read(NCSN)[0], path)
    repack(path, lambda members: members, compression)
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    refuse(path, "whole PyTorch file.*it is compressed")


def test_duplicate_member_names_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "twice.pth"
    torch.save(read(NCSN)[0], path)
    with warnings.catch_warnings(action="ignore"):
        repack(path, lambda members: [*members, members[0]])
    monkeypatch.setattr(torch, "load", None)
    refuse(path, "whole PyTorch file.*two of its members have the same name")


def test_members_are_no_larger_than_the_file(tmp_path, monkeypatch):
    path = tmp_path / "overlapping.pth"
    torch.save(read(NCSN)[0], path)
    whole = path.read_bytes()
    # Each entry of the directory states 255 times 65,536 bytes more.
    entry = b"PK\x01\x02"
    parts = whole.split(entry)
    larger = [x[:22] + b"\xff" + x[23:] for x in parts[1:]]
    path.write_bytes(entry.join([parts[0], *larger]))
    monkeypatch.setattr(torch, "load", None)
    refuse(path, "whole PyTorch file.*its members are larger than the file")


def test_an_archive_hidden_before_another_is_not_read(tmp_path):
    good, other = tmp_path / "good.pth", tmp_path / "other.pth"
    torch.save(read(NCSN)[0], good)
    torch.save({"begin_conv.weight": torch.ones(3)}, other)
    # Python looks for the directory from the end, and lets what is before an
    # archive pass.
    both = tmp_path / "both.pth"
    both.write_bytes(other.read_bytes() + good.read_bytes())
    network, _ = load_checkpoint(both)
    np.testing.assert_array_equal(
        begin_bias(network), read(NCSN)[0]["module.begin_conv.bias"]
    )


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(1).expand(10_000, 10_000),
        lambda: torch.zeros(5000).as_strided((5000, 5000), (1, 0)),
        lambda: torch.zeros(10_000).as_strided((5000, 5000), (1, 1)),
    ],
    ids=["0, 0", "1, 0", "1, 1"],
)
def test_tensors_that_share_their_numbers_are_not_made_dense(
    tmp_path, make, legacy, monkeypatch
):
    path = tmp_path / "small.pth"
    state = {"begin_conv.weight": torch.ones(8, 1, 3, 3), "odd": make()}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    assert path.stat().st_size < 100_000
    for method in ("float", "double"):
        monkeypatch.setattr(torch.Tensor, method, None)
    refuse(path, "must be stored in full.*with tensors of [1-4]00,000,288")


def test_many_tensors_of_one_storage_are_not_made_dense(tmp_path, monkeypatch):
    shared = torch.zeros(10_000)
    state = {str(index): shared[:9000] for index in range(100)}
    torch.save(state, tmp_path / "small.pth")
    monkeypatch.setattr(torch.Tensor, "double", None)
    refuse(tmp_path / "small.pth", "must be stored in full")


def test_a_wide_first_convolution_builds_no_huge_network(tmp_path):
    state = {
        "begin_conv.weight": torch.ones(200_000, 1, 1, 1),
        "sigmas": torch.tensor([1.0, 0.5]),
    }
    torch.save(state, tmp_path / "wide.pth")
    refuse(
        tmp_path / "wide.pth",
        "shapes that its first.*200000 filters, and 200,000 numbers",
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "dtype",
    [
        *("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "bits8", "bits1x8"),
        *("quint4x2", "quint8", "complex32", "uint16", "uint64"),
    ],
)
def test_tensors_of_few_bits_are_refused(tmp_path, dtype):
    if not hasattr(torch, dtype):
        pytest.skip("not in this version of PyTorch")
    kind = getattr(torch, dtype)
    if dtype.startswith("quint"):
        tensor = torch._empty_affine_quantized(
            [8], scale=1.0, zero_point=0, dtype=kind
        )
    else:
        tensor = torch.zeros(64, dtype=torch.uint8).view(kind)
    path = tmp_path / "few.pth"
    torch.save({"odd": tensor}, path)
    refuse(path, "dense.*finite.*where 'odd'|whole PyTorch file")


class Shadow(dict):
    """Pickled as an OrderedDict whose methods are hidden by its attributes."""

    def __init__(self, state, hidden):
        super().__init__()
        self.state, self.hidden = state, hidden

    def __reduce__(self):
        items = iter(self.state.items())
        return OrderedDict, (), self.hidden, None, items


@pytest.mark.parametrize("hidden", ["items", "values", "keys", "get", "pop"])
def test_a_key_that_shadows_a_method_is_not_called(tmp_path, hidden):
    state = without_module(read(NCSN)[0])
    path = tmp_path / "hidden.pth"
    torch.save(Shadow(state, {hidden: 3}), path)
    network, _ = load_checkpoint(path, image_size=8)
    np.testing.assert_array_equal(begin_bias(network), state["begin_conv.bias"])


@pytest.mark.parametrize(
    "hidden", ["detach", "float", "double", "numel", "element_size", "numpy"]
)
def test_an_attribute_that_shadows_a_tensor_method_is_not_called(
    tmp_path, hidden
):
    state = without_module(read(NCSN)[0])
    parameter = torch.nn.Parameter(state["begin_conv.bias"])
    setattr(parameter, hidden, 3)
    state["begin_conv.bias"] = parameter
    network, _ = load(tmp_path, state, image_size=8)
    np.testing.assert_array_equal(begin_bias(network), parameter.data)


def test_names_of_tensors_are_one_printable_line(tmp_path):
    odd = "\x1b[2J\n\u202e" + "x" * 1000
    path = tmp_path / "named.pth"
    state = without_module(read(NCSN)[0])
    for hostile in (
        {odd: torch.ones(3)},
        state | {odd: torch.ones(3)},
        state | {odd: torch.tensor([float("nan")])},
        state | {odd: torch.ones(1), f"module.{odd}": torch.ones(1)},
    ):
        torch.save(hostile, path)
        refuse(path, "Received", image_size=8)


def test_incomplete_average(tmp_path):
    checkpoint = list(read(NCSNV2))
    del checkpoint[4]["end_conv.bias"]
    with pytest.raises(ValueError, match="end_conv.bias are missing"):
        load(tmp_path, checkpoint, image_size=8)


def test_torch_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install keras-ncsn\[torch\]"):
        load_checkpoint(NCSN)


class StoredNoise:
    """The noise that the authors' code drew, handed out in order."""

    def __init__(self, start, steps):
        self.shape = start.shape
        self.start = start
        self.steps = iter(steps)

    def normal(self, num_steps=None):
        return self.start if num_steps is None else next(self.steps)


def test_sampler_takes_the_same_steps_as_the_authors(golden, untraced):
    network, schedule, arrays = golden
    ladder = NoiseSchedule(schedule.sigmas[arrays["langevin_levels"]])
    ratio = ladder.sigma_min / schedule.sigma_min
    model = NCSNModel(network, schedule)
    start = (arrays["x"] / ladder.sigma_max).astype("float32")
    sampler = samplers.AnnealedLangevin(
        steps_per_level=2, step_size=float(arrays["step_lr"]) * ratio**2
    )
    noise = StoredNoise(start, arrays["langevin_noise"])
    with untraced():
        result = sampler.sample(model.score_function, ladder, noise)
        denoised = model.denoise(arrays["langevin_result"], schedule.sigma_min)
    assert_each_close(ops.convert_to_numpy(result), arrays["langevin_result"])
    assert_each_close(denoised, arrays["langevin_denoised"])


def test_loss_equals_the_authors(golden):
    network, schedule, arrays = golden
    sigma = schedule.sigmas[arrays["labels"]].astype("float32")
    loss = step.loss_per_image(
        NCSNModel(network, schedule),
        ops.convert_to_tensor(arrays["x"]),
        ops.convert_to_tensor(sigma),
        ops.convert_to_tensor(arrays["noise"]),
    )
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.stop_gradient(loss)),
        arrays["dsm_per_example"],
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        (NCSN, {}),
        (
            NCSNV2,
            {
                "annealed_langevin": {
                    "steps_per_level": 5,
                    "step_size": 6.2e-6,
                    "denoise": True,
                }
            },
        ),
    ],
)
def test_model_samples_as_the_authors_do(path, settings):
    model = load_model(path)
    assert model.sampler == "annealed_langevin"
    assert model.sampler_settings == settings


@pytest.mark.filterwarnings("ignore")
@few_or_many
@pytest.mark.parametrize("legacy", [False, True])
def test_a_damaged_file_is_read_or_refused(tmp_path, legacy, num_cases):
    good, path = tmp_path / "good.pth", tmp_path / "damaged.pth"
    # Small, and of neither NCSN nor NCSNv2: no network is made of it.
    state = {"begin_conv.weight": torch.ones(8, 1, 3, 3), "a": torch.ones(3)}
    torch.save(
        [OrderedDict(state), {"step": 3}],
        good,
        _use_new_zipfile_serialization=not legacy,
    )

    @fuzz(num_cases)
    @given(mutations(good.read_bytes()))
    def read(damaged):
        path.write_bytes(damaged)
        refuse(path, "Received")

    read()
