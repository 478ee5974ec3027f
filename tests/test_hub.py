"""Uploads: what is sent, and one clear line where nothing can be sent."""

import pytest
from huggingface_hub import constants
from tiny_hub import hub_at_home

from persam_dreambooth.diffusion.hub import check_hub, make_repository, upload
from persam_dreambooth.errors import UserError


@pytest.fixture
def hub(monkeypatch):
    with hub_at_home() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))


def test_files_arrive_as_they_are(hub, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"\x00\x01weights")
    repo_id = make_repository("sks-cat", tmp_path, "hf_right")
    assert repo_id == "me/sks-cat"
    files = {"weights.safetensors": tmp_path / "weights.safetensors", "README.md": b"# card"}
    assert upload(repo_id, files, tmp_path, "hf_right") == f"{hub.url}/me/sks-cat"
    assert hub.files == {"me/sks-cat": {"weights.safetensors": b"\x00\x01weights", "README.md": b"# card"}}


def test_a_refused_token_is_one_line(hub, tmp_path):
    with pytest.raises(UserError, match=r"--push_to_hub: not uploaded to sks-cat .*401") as caught:
        make_repository("sks-cat", tmp_path, "hf_wrong")
    assert "\n" not in str(caught.value)
    assert f"everything is in {tmp_path}" in str(caught.value)


def test_a_name_that_is_no_repositorys_is_one_line(hub, tmp_path):
    with pytest.raises(UserError, match="--push_to_hub: not uploaded to a/b/c "):
        make_repository("a/b/c", tmp_path, "hf_right")


def test_without_a_network_nothing_is_lost(monkeypatch, tmp_path):
    # A port that nobody listens on.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=rf"^--push_to_hub: not uploaded to .* everything is in {tmp_path}\."):
        make_repository("sks-cat", tmp_path, "hf_right")


def test_offline_mode_is_said_before_the_training_and_after_it(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"^--push_to_hub: HF_HUB_OFFLINE is set; .* Unset it, or drop"):
        check_hub("hf_right")
    (tmp_path / "weights").write_bytes(b"weights")
    for attempt in (
        lambda: make_repository("sks-cat", tmp_path, "hf_right"),
        lambda: upload("sks-cat", {"weights": tmp_path / "weights"}, tmp_path, "hf_right"),
    ):
        with pytest.raises(UserError, match=r"not uploaded to sks-cat .* done and everything is in"):
            attempt()
    assert (tmp_path / "weights").read_bytes() == b"weights"


def test_a_missing_login_is_said_before_the_training(monkeypatch, no_login):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"^--push_to_hub: no access token .* Run `hf auth login`"):
        check_hub(None)
    check_hub("hf_right")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    check_hub(None)
