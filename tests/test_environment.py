"""What a run's folder says of versions and inputs."""

import json

import accelerate
import numpy as np
import pytest
import torch
from accelerate import Accelerator, DistributedType
from tiny_albums import draw_album
from tiny_pipelines import tiny_models
from torch import nn

from persam_dreambooth import __version__
from persam_dreambooth.config import parse
from persam_dreambooth.diffusion.weights_digest import weights_digest
from persam_dreambooth.dreambooth.environment import environment, inputs, packages
from persam_dreambooth.dreambooth.inputs import check_whole, run_folder
from persam_dreambooth.errors import UserError
from persam_dreambooth.masks.record import subject_mask


def test_versions_are_those_of_the_modules():
    found = packages()
    assert found["torch"] == torch.__version__
    assert found["accelerate"] == accelerate.__version__
    assert found["numpy"] == np.__version__
    record = environment(Accelerator())
    assert record["persam_dreambooth"] == __version__
    assert record["machine"]["device"] == "cpu"
    assert record["processes"] == 1
    assert json.loads(json.dumps(record)) == record


def test_inputs_are_known_by_their_content():
    models = tiny_models("sdxl")
    photos, masks = draw_album(2)
    found = {stem: subject_mask(stem, mask, "given") for stem, mask in masks.items()}
    record = inputs(models, photos, found, photos[:1])
    assert set(record["model_weights"]) == {"unet", "vae", "text_encoder", "text_encoder_2"}
    assert record["photos"] == {photo.path.name: photo.digest for photo in photos}
    assert set(record["masks"]) == {"00", "01"}
    assert list(record["class_images"]) == ["00.png"]
    again = inputs(tiny_models("sdxl"), photos, None, None)
    assert again["model_weights"] == record["model_weights"]
    assert again["masks"] is None


@pytest.mark.parametrize("kind", ["FSDP", "MEGATRON_LM"])
def test_weights_that_are_split_over_processes_are_refused(kind):
    text = f"accelerate's settings: {kind} splits weights over processes; here they are whole .*ZeRO stage 2"
    with pytest.raises(UserError, match=text):
        check_whole(DistributedType(kind))
    for whole in ("NO", "MULTI_CPU", "MULTI_GPU", "DEEPSPEED"):
        check_whole(DistributedType(whole))


def test_a_weights_digest_changes_with_every_bit_and_name():
    module = nn.Linear(3, 2)
    digest = weights_digest(module)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(module.state_dict())
    assert weights_digest(twin) == digest
    twin.weight.data[0, 0] = torch.nextafter(twin.weight.data[0, 0], torch.tensor(9.0))
    assert weights_digest(twin) != digest
    assert weights_digest(nn.Sequential(module)) != digest
    assert weights_digest(nn.Linear(3, 2).bfloat16()) != digest
    # One column and one row of the same numbers are not the same weights.
    row, column = nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False)
    column.weight.data = row.weight.data.reshape(2, 1).clone()
    assert weights_digest(row) != weights_digest(column)


def test_results_never_overwrite_a_model_of_anybody_else(tmp_path):
    mine = tmp_path / "my-model"
    mine.mkdir()
    (mine / "model_index.json").write_text("{}")
    with pytest.raises(UserError, match=r"--output_dir .*/my-model: holds a model that another program has"):
        run_folder(parse(["--output_dir", str(mine)]))
    base = ["--pretrained_model_name_or_path", str(mine), "--output_dir", f"{tmp_path}/./my-model"]
    with pytest.raises(UserError, match=r"would overwrite the base model\. Name another one\."):
        run_folder(parse(base))
    # What a run here has written it may write again.
    (mine / "stages.json").write_text("{}")
    assert run_folder(parse(["--output_dir", str(mine)])).path == mine
    assert [path.name for path in tmp_path.iterdir()] == ["my-model"]
