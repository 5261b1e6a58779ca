"""One function builds every backbone, offline, without unpickling, and says what a person must know."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))
from hub_server import hub_of
from small_clips import put_into_cache, small_clip, state_of, write_archive, write_folder

from napari_clipmed.errors import Cancelled, ModelError
from napari_clipmed.models.archive_conversion import convert_archive
from napari_clipmed.models.backbone_list import SHIPPED_BACKBONE, describe_backbone, licence_of
from napari_clipmed.models.backbone_own import shipped_folder
from napari_clipmed.models.backbone_source import (
    architectures,
    find_source,
    is_here,
    read_name,
    shown_name,
)
from napari_clipmed.models.backbones import (
    clip_config,
    create_clip,
    create_from,
    modified_resnet,
    sentence_features,
    tokenizer_for,
)
from napari_clipmed.progress import Progress, Step

REPOSITORY = "someone/tiny-clip"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no way to the hub."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Whether two models have the same weights."""
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[key], other[key]) for key in mine)


# -- the towers that come along ---------------------------------------------------------------------------


def test_the_shipped_towers_have_a_name_and_say_their_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = read_name(SHIPPED_BACKBONE)
    assert (name.origin, Path(name.name).parent.name) == ("folder", "backbones")
    assert shown_name(SHIPPED_BACKBONE) == SHIPPED_BACKBONE
    assert is_here(SHIPPED_BACKBONE)
    source = find_source(SHIPPED_BACKBONE)
    assert source.title == SHIPPED_BACKBONE
    assert "It does not tell left from right." in source.notes
    told = describe_backbone(SHIPPED_BACKBONE, weights=True)
    assert told["trains"] == ["clip-dsa", "causal-clipseg"]
    assert told["spec"] == SHIPPED_BACKBONE
    assert "CC BY-NC-SA" in licence_of(SHIPPED_BACKBONE)
    assert "CC BY-NC-SA" in licence_of(f"local-dir:{name.name}"), "a copy says so itself"
    assert (licence_of("RN50:openai"), licence_of("clipmed-tiny")) == ("MIT", "")
    weights = Path(name.name) / "open_clip_model.safetensors"
    assert weights.stat().st_size < 25 * 2**20
    for spec in ("", "nothing-of-this-name", "../backbones/clip-compact"):
        assert shipped_folder(spec) is None
    (tmp_path / SHIPPED_BACKBONE).mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_name(SHIPPED_BACKBONE).name == SHIPPED_BACKBONE, "a folder of the person's comes first"


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "origin", "name", "weights"),
    [
        ("RN50", "random", "RN50", ""),
        ("RN50:openai", "tag", "RN50", "openai"),
        ("RN50-quickgelu@openai", "tag", "RN50-quickgelu", "openai"),
        ("RN50@/data/w.pt", "file", "RN50", "/data/w.pt"),
        ("/data/w.pt", "file", "", "/data/w.pt"),
        (f"hf-hub:{REPOSITORY}", "hub", REPOSITORY, ""),
        ("local-dir:/data/clip", "folder", "/data/clip", ""),
    ],
)
def test_a_specification_is_read(spec: str, origin: str, name: str, weights: str) -> None:
    read = read_name(spec)
    assert (read.origin, read.name, read.weights) == (origin, name, weights)


def test_what_goes_onto_a_card_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    assert shown_name(f"RN50@{tmp_path}/w.pt") == "RN50@w.pt"
    assert shown_name(f"{tmp_path}/w.pt") == "w.pt"
    assert shown_name(f"local-dir:{tmp_path}/clip") == "local-dir:clip"
    assert shown_name("RN50:openai") == "RN50:openai"


def test_shipped_config_by_name_and_by_content_agree() -> None:
    torch.manual_seed(0)
    by_name = create_clip("clipmed-tiny")
    torch.manual_seed(0)
    assert same(by_name, create_clip(clip_config("clipmed-tiny")))


def test_unknown_names_and_weights_say_what_there_is() -> None:
    with pytest.raises(ModelError, match="no backbone"):
        create_clip("RN51")
    with pytest.raises(ModelError, match=r"could not be loaded.*Known: openai, yfcc15m, cc12m"):
        create_clip("RN50:nowhere")
    with pytest.raises(ModelError, match="no checkpoint file"):
        create_clip("RN50@/nowhere/w.pt")


# -- local files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", ["safetensors", "half", "plain", "training", "compiled", "named"])
def test_every_safe_format_gives_the_same_weights(tmp_path: Path, wrapped: str) -> None:
    source = small_clip()
    state = state_of(source)
    path = tmp_path / ("w.safetensors" if wrapped in ("safetensors", "half") else "w.pt")
    if wrapped == "half":
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        source.load_state_dict(state)
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif wrapped == "training":
        optimiser = torch.optim.AdamW(source.parameters()).state_dict()
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": optimiser},
            path,
        )
    else:
        torch.save({f"_orig_mod.{k}": v for k, v in state.items()} if wrapped == "compiled" else state, path)
    loaded = create_clip(str(path) if wrapped == "named" else f"clipmed-tiny@{path}")
    assert same(loaded, source)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "bad.pt"
    torch.save({"state_dict": Boom()}, path)
    with pytest.raises(ModelError, match=r"bad.pt.*refused"):
        create_clip(f"clipmed-tiny@{path}")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_unfolds_to_far_more_than_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(64 * 2**20))
    with pytest.raises(ModelError, match="far more than its size"):
        create_clip(f"clipmed-tiny@{path}")


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 half a zip"])
def test_what_is_no_checkpoint_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.pt") as caught:
        create_clip(f"clipmed-tiny@{path}")
    assert len(str(caught.value)) < 400


def test_other_architecture_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    save_file(state_of(create_clip("clipmed-compact")), path)
    with pytest.raises(ModelError, match="tensors missing") as caught:
        create_clip(f"clipmed-tiny@{path}")
    assert len(caught.value.message) < 400


def test_the_architecture_is_told_by_the_tensors(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {
            name: {k: tuple(v.shape) for k, v in create_clip(name).state_dict().items()}
            for name in ("RN50", "RN101", "ViT-B-32", "clipmed-compact")
        }
    for name, found in shapes.items():
        assert architectures(found) == ([name] if name.startswith("clipmed") else [name, f"{name}-quickgelu"])
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="does not tell which architecture"):
        create_clip(str(path))


# -- QuickGELU --------------------------------------------------------------------------------------------


@pytest.fixture
def twins(tmp_path: Path) -> str:
    """Two configurations that differ in their GELU alone, as open_clip names them."""
    config = clip_config("clipmed-tiny")
    for name, quick in (("twin-for-tests", False), ("twin-for-tests-quickgelu", True)):
        text = json.dumps(config | {"embed_dim": 48, "quick_gelu": quick})
        (tmp_path / f"{name}.json").write_text(text)
        open_clip.add_model_config(tmp_path / f"{name}.json")
    return "twin-for-tests"


def test_the_wrong_gelu_changes_sentences_and_no_picture(twins: str) -> None:
    exact, quick = small_clip(twins), create_clip(f"{twins}-quickgelu").eval()
    quick.load_state_dict(exact.state_dict())
    images, words = torch.randn(1, 3, 64, 64), ["moyamoya disease"]
    assert torch.equal(exact.encode_image(images), quick.encode_image(images))
    read = [sentence_features(model, tokenizer_for(twins), words) for model in (exact, quick)]
    assert not torch.allclose(*read, atol=1e-4)


def test_a_mismatch_that_the_file_proves_is_refused_and_the_right_name_is_said(
    tmp_path: Path, twins: str
) -> None:
    state = state_of(small_clip(f"{twins}-quickgelu"))
    path = tmp_path / "openai.pt"
    torch.save(state | {"input_resolution": torch.tensor(64)}, path)
    with pytest.raises(ModelError, match=f"trained with QuickGELU.*Name {twins}-quickgelu@FILE"):
        create_clip(f"{twins}@{path}")
    assert find_source(str(path)).config["quick_gelu"] is True
    assert find_source(f"{twins}-quickgelu@{path}").notes == ()
    said = tmp_path / "ours.safetensors"
    save_file(state, said, {"quick_gelu": "false"})
    with pytest.raises(ModelError, match="trained with the exact GELU"):
        create_clip(f"{twins}-quickgelu@{said}")


def test_a_file_that_does_not_say_is_said_not_to_say(tmp_path: Path, twins: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state_of(small_clip(twins)), path)
    (note,) = find_source(f"{twins}@{path}").notes
    assert "does not say with which GELU" in note
    assert "silently" in note


def test_the_gelu_of_a_tag_is_the_one_of_its_training() -> None:
    plain, quick = (find_source(spec, weights=False) for spec in ("RN50:openai", "RN50-quickgelu:openai"))
    assert plain.config["quick_gelu"] is quick.config["quick_gelu"] is True
    assert "read with QuickGELU" in plain.notes[0]
    assert quick.notes == ()


# -- OpenAI's archives ------------------------------------------------------------------------------------


def test_an_archive_is_refused_until_it_was_converted_with_consent(tmp_path: Path) -> None:
    source = small_clip()
    path = write_archive(tmp_path / "RN50.pt", source)
    with pytest.raises(ModelError, match="TorchScript archive.*models convert"):
        create_clip(f"clipmed-tiny@{path}")
    with pytest.raises(ModelError, match="--trust"):
        convert_archive(path)
    folder = convert_archive(path, trusted=True)
    assert sorted(file.name for file in folder.iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    assert same(create_clip(f"local-dir:{folder}"), source)
    assert same(create_clip(str(path)), source), "found again by the archive's name, without opening it"
    assert convert_archive(path, trusted=True) == folder


def test_only_an_archive_of_a_clip_is_converted(tmp_path: Path) -> None:
    plain, other = tmp_path / "plain.pt", tmp_path / "other.pt"
    torch.save(state_of(small_clip()), plain)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(other))
    for path, reason in ((plain, "no TorchScript archive"), (other, "none of the CLIP models")):
        with pytest.raises(ModelError, match=reason):
            convert_archive(path, tmp_path / "out", trusted=True)
    assert not (tmp_path / "out").exists()


# -- folders and the hub ----------------------------------------------------------------------------------


def test_a_folder_brings_configuration_weights_and_statistics(tmp_path: Path) -> None:
    source = small_clip()
    folder = write_folder(tmp_path / "clip", source, mean=[0.5, 0.5, 0.5])
    assert same(create_clip(f"local-dir:{folder}"), source)
    found = find_source(str(folder))
    assert (found.preprocess["mean"], found.preprocess["std"][0]) == ((0.5, 0.5, 0.5), 0.26862954)
    assert str(tmp_path) not in json.dumps(found.config)
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        create_clip(str(folder))
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(ModelError, match="describes no model"):
        create_clip(str(folder))


def test_what_is_in_the_cache_needs_no_hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_clip()
    put_into_cache(hub_cache, REPOSITORY, source)
    assert is_here(f"hf-hub:{REPOSITORY}")
    assert same(create_clip(f"hf-hub:{REPOSITORY}"), source)
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED,
        "clipmed-tiny",
        {"ours": {"hf_hub": f"{REPOSITORY}/", "quick_gelu": True}},
    )
    assert is_here("clipmed-tiny:ours")
    assert same(create_clip("clipmed-tiny:ours"), source)
    tokens = tokenizer_for(f"hf-hub:{REPOSITORY}")(["moyamoya disease"])
    assert tokens.shape == (1, 77)


@pytest.mark.parametrize("spec", [f"hf-hub:{REPOSITORY}", "RN50:openai", "RN101-quickgelu:openai"])
def test_offline_and_not_cached_is_one_clear_sentence(hub_cache: Path, spec: str) -> None:
    assert not is_here(spec)
    with pytest.raises(
        ModelError, match=r"not in the hub's cache.*HF_HUB_OFFLINE.*local-dir:FOLDER"
    ) as caught:
        create_clip(spec)
    assert len(str(caught.value)) < 400


def test_a_hub_out_of_reach_is_said_at_once(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(ModelError, match="hub could not be reached") as caught:
        create_clip(f"hf-hub:{REPOSITORY}")
    assert len(str(caught.value)) < 400


def test_a_download_tells_how_far_it_is_and_is_read_from_the_cache_ever_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, steps = small_clip(), []
    folder = write_folder(tmp_path / "served", source)
    with hub_of(folder, tmp_path / "cache", monkeypatch) as asked:
        progress = Progress(lambda step: steps.append((step.what, step.done, step.total)))
        assert same(create_clip(f"hf-hub:{REPOSITORY}", progress=progress), source)
        assert "open_clip_model.safetensors" in asked
        whole = round((folder / "open_clip_model.safetensors").stat().st_size / 2**20)
        assert (f"Downloading {REPOSITORY} (MiB)", whole, whole) in steps
        (folder / "open_clip_model.safetensors").unlink()
        with pytest.raises(ModelError, match="holds none of open_clip_model.safetensors"):
            find_source("hf-hub:someone/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(create_clip(f"hf-hub:{REPOSITORY}"), source)


def test_a_download_that_is_stopped_leaves_nothing_to_be_mistaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(step: Step) -> None:
        if step.what.startswith("Downloading"):
            progress.cancel()

    progress = Progress(stop)
    served = write_folder(tmp_path / "served")
    with hub_of(served, tmp_path / "cache", monkeypatch), pytest.raises(Cancelled):
        create_clip(f"hf-hub:{REPOSITORY}", progress=progress)
    assert not is_here(f"hf-hub:{REPOSITORY}")


def test_a_text_tower_of_transformers_is_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "transformers", None)
        config = clip_config("clipmed-tiny")
        config["text_cfg"] = {
            "hf_model_name": "some/bert",
            "hf_tokenizer_name": "some/bert",
            "hf_proj_type": "mlp",
        }
        for build in (create_clip, tokenizer_for):
            with pytest.raises(ModelError, match="pip install transformers"):
                build(config)


# -- towers -----------------------------------------------------------------------------------------------


def test_only_clips_resnet_is_accepted() -> None:
    config = clip_config("clipmed-tiny")
    config["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    with pytest.raises(ModelError, match="not CLIP's ResNet"):
        modified_resnet(create_clip(config))


def test_sentence_features_are_unit_and_frozen() -> None:
    model = create_clip("clipmed-tiny").train()
    features = sentence_features(model, tokenizer_for("clipmed-tiny"), ["moyamoya disease", "no disease"])
    assert features.shape == (2, 32)
    assert torch.allclose(features.norm(dim=-1), torch.ones(2), atol=1e-5)
    assert not features.requires_grad
    assert model.training


def test_a_tower_of_transformers_in_a_folder_needs_no_hub(hub_cache: Path, tmp_path: Path) -> None:
    """As BiomedCLIP is laid out, with the files of its tower beside it: nothing is asked for by name."""
    transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
    sizes = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.BertConfig(**sizes, intermediate_size=64).save_pretrained(tmp_path)
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "moyamoya",
        "disease",
        *(f"w{n}" for n in range(33)),
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    text = {"hf_model_name": "nobody/bert", "hf_tokenizer_name": "nobody/bert", "hf_proj_type": "mlp"}
    text |= {"hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 16}
    vision = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    source = create_from(find_source(f"local-dir:{tmp_path}", weights=False)).eval()
    save_file(state_of(source), tmp_path / "open_clip_model.safetensors")
    loaded = create_clip(f"local-dir:{tmp_path}")
    assert same(loaded, source)
    features = sentence_features(loaded, tokenizer_for(f"local-dir:{tmp_path}"), ["moyamoya disease", "w1"])
    assert features.shape == (2, 24)
    assert clip_config(f"local-dir:{tmp_path}")["text_cfg"]["hf_model_name"] == "nobody/bert", (
        "no path on a card"
    )
