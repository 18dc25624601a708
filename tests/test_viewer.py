"""The viewer: one run, this machine only, honest about what is gone."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from results import photograph_result, true_result
from samreg.errors import InputError
from samreg.io.images import write_image
from samreg.runs.run_folder import write_run
from samreg.viewer import serve
from samreg.viewer.scene import Scene


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result, folder = true_result(3), tmp_path_factory.mktemp("view")
    files = {side: folder / f"{side}.nii.gz" for side in ("fixed", "moving")}
    write_image(result.fixed, files["fixed"])
    write_image(result.moving, files["moving"])
    return write_run(result, folder / "run", inputs=files)


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    server = serve(run)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def get(url: str) -> tuple[str, bytes]:
    with urllib.request.urlopen(url) as answer:  # noqa: S310
        return answer.headers["Content-Type"], answer.read()


def test_page_scene_slices_and_outlines(address: str) -> None:
    kind, page = get(address + "/")
    assert kind.startswith("text/html")
    assert b"http" not in page.replace(b"http://www.w3.org", b"")
    scene = json.loads(get(address + "/scene")[1])
    assert scene["fixed_plane"]["n"] == 3
    assert len(scene["pairs"]) == 8
    assert scene["moving"] is True
    for view in [*scene["views"], "moving"]:
        kind, picture = get(f"{address}/slice?view={view.replace(' ', '%20')}&index=1")
        assert kind == "image/png"
        assert picture.startswith(b"\x89PNG")
    outlines = json.loads(get(f"{address}/outlines?side=moving&index=1")[1])
    assert {row["pair"] for row in outlines} <= set(range(1, 9))
    assert outlines


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/slice?view=fixed&index=99", "/slice?view=x&index=0", "/slice", "/../x"]
)
def test_nothing_else_is_served(address: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(address + path)
    assert caught.value.code == 404
    caught.value.close()


def test_it_listens_to_this_machine_only(run: Path) -> None:
    server = serve(run)
    try:
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(InputError, match="choose another --port"):
            serve(run, server.server_address[1])
    finally:
        server.server_close()


def test_images_that_are_gone_or_changed_are_said(tmp_path: Path) -> None:
    result = true_result(3)
    files = {side: tmp_path / f"{side}.nii.gz" for side in ("fixed", "moving")}
    write_image(result.fixed, files["fixed"])
    write_image(result.moving, files["moving"])
    run = write_run(result, tmp_path / "run", inputs=files)
    files["moving"].unlink()
    write_image(result.fixed.with_data(result.fixed.data + 1), files["fixed"])
    scene = Scene.load(run)
    assert scene.fixed is None
    assert scene.moving is None
    assert "has changed" in scene.notes[0]
    assert "not where it was" in scene.notes[1]
    assert scene.describe()["views"] == ["warped", "jacobian"]


def test_photographs_that_were_no_files(tmp_path: Path) -> None:
    scene = Scene.load(write_run(photograph_result(), tmp_path / "run"))
    assert scene.describe()["views"] == ["warped", "jacobian"]
    assert scene.picture("warped", 0).startswith(b"\x89PNG")


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        serve(tmp_path)
