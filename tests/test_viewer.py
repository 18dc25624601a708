"""The viewer's server: one run, this machine and this user only, and honest about what is gone."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import photograph_result, true_result
from samreg.cli import main
from samreg.errors import InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.rois import Roi
from samreg.io.images import write_image
from samreg.runs.run_folder import read_run, write_run
from samreg.viewer import serve
from samreg.viewer.display import Display
from samreg.viewer.masks import pack, shown_roi, unpack, unshown_roi
from samreg.viewer.page import Page
from samreg.viewer.scene import Scene
from samreg.viewer.security import LARGEST_BODY
from samreg.viewer.server import Server
from samreg.viewer.volumes import FOLDED, NO_BODY, coarse_map, jacobian_volume, write_volume

PAGE = Page({"index.html": (b"<!DOCTYPE html><title>x</title>", "text/html"), "a.js": (b"1", "text/javascript")})
ROTATED = ((0.0, -0.6, 0.8), (0.0, 0.8, 0.6), (-1.0, 0.0, 0.0))


def make_run(folder: Path) -> Path:
    result = true_result(3)
    files = {side: folder / f"{side}.nii.gz" for side in ("fixed", "moving")}
    write_image(result.fixed, files["fixed"])
    write_image(result.moving, files["moving"])
    return write_run(result, folder / "run", inputs=files, inverse=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Server]:
    with serve(run, page=PAGE) as server:
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server._server.started:
            time.sleep(0.01)
        yield server
        server.stop()
        thread.join()


class Asked:
    """One request as a browser's page makes it, unless told otherwise."""

    def __init__(
        self,
        server: Server,
        path: str,
        *,
        body: Any = None,
        method: str = "",
        headers: dict[str, str | None] | None = None,
    ) -> None:
        own = f"127.0.0.1:{server.port}"
        sent: dict[str, str | None] = {"Host": own, "Cookie": f"samreg_{server.port}={server.token}"}
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if body is not None:
            sent |= {"Origin": f"http://{own}", "Content-Type": "application/json", "Content-Length": str(len(data))}
        sent |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders()
        if data and int(sent["Content-Length"] or 0) == len(data):
            connection.send(data)
        answer = connection.getresponse()
        self.status, self.headers, self.content = answer.status, dict(answer.headers.items()), answer.read()
        connection.close()

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class TestWhoMayAsk:
    def test_the_address_gives_the_page_and_a_cookie(self, server: Server) -> None:
        first = Asked(server, f"/?token={server.token}", headers={"Cookie": None, "Sec-Fetch-Site": "cross-site"})
        assert first.status == 200
        assert first.content == PAGE.files["index.html"][0]
        cookie = first.headers["set-cookie"]
        assert cookie == f"samreg_{server.port}={server.token}; HttpOnly; SameSite=Strict; Path=/"
        assert Asked(server, "/scene", headers={"Cookie": cookie.partition(";")[0]}).status == 200

    @pytest.mark.parametrize("path", ["/", "/a.js", "/scene", "/pairs", "/volume/run/fixed", "/map/run", "/job"])
    @pytest.mark.parametrize("cookie", [None, "samreg_{port}=", "samreg_{port}=x", "samreg_1={token}", ";;;"])
    def test_without_the_token_there_is_nothing(self, server: Server, path: str, cookie: str | None) -> None:
        """Another user of the machine can connect, and gets nothing."""
        sent = None if cookie is None else cookie.format(port=server.port, token=server.token)
        found = Asked(server, path, headers={"Cookie": sent})
        assert found.status == 403
        assert b"address that samreg view printed" in found.content
        assert "set-cookie" not in found.headers

    @pytest.mark.parametrize("token", ["", "x", "é", "%00"])
    def test_a_wrong_token_is_refused(self, server: Server, token: str) -> None:
        from urllib.parse import quote

        assert Asked(server, f"/?token={quote(token)}", headers={"Cookie": None}).status == 403

    def test_the_token_opens_the_page_only(self, server: Server) -> None:
        assert Asked(server, f"/scene?token={server.token}", headers={"Cookie": None}).status == 403

    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", None]
    )
    def test_another_name_of_this_machine_is_refused(self, server: Server, host: str | None) -> None:
        """A page whose name was made to lead to 127.0.0.1 (DNS rebinding) sends its own name."""
        sent = None if host is None else host.format(port=server.port)
        for path in ("/scene", f"/?token={server.token}"):
            assert Asked(server, path, headers={"Host": sent}).status == 400

    def test_localhost_is_this_machine(self, server: Server) -> None:
        assert Asked(server, "/scene", headers={"Host": f"localhost:{server.port}"}).status == 200

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
    )
    def test_another_page_is_refused(self, server: Server, origin: str) -> None:
        sent = {"Origin": origin.format(port=server.port)}
        assert Asked(server, "/scene", headers=sent).status == 403
        assert Asked(server, "/edit", body={"do": "reject", "ids": [1]}, headers=sent).status == 403

    def test_a_change_says_which_page_it_comes_from(self, server: Server) -> None:
        assert Asked(server, "/edit", body={"do": "undo"}, headers={"Origin": None}).status == 403
        assert Asked(server, "/scene", headers={"Sec-Fetch-Site": "cross-site"}).status == 403

    def test_a_change_is_json(self, server: Server) -> None:
        """Forms of other pages can send text/plain without asking first."""
        body = {"do": "reject", "ids": [1]}
        assert Asked(server, "/edit", body=body, headers={"Content-Type": "text/plain"}).status == 422
        assert Asked(server, "/edit", body=b"{").status == 422
        assert Asked(server, "/edit", body=[1]).status == 422

    def test_a_large_body_is_refused(self, server: Server) -> None:
        assert Asked(server, "/edit", body=b"x", headers={"Content-Length": str(LARGEST_BODY + 1)}).status == 413
        assert Asked(server, "/edit", body=b"x", headers={"Content-Length": "-1"}).status in (400, 413)

    def test_a_large_body_of_unknown_length_is_refused(self, server: Server) -> None:
        head = (
            f"POST /edit HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: http://127.0.0.1:{server.port}\r\n"
            f"Cookie: samreg_{server.port}={server.token}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
            raw.sendall(head.encode())
            try:
                for _ in range(LARGEST_BODY // 0x100000 + 1):
                    raw.sendall(chunk)
                answer = raw.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                answer = b"HTTP/1.1 413"  # it hung up on us, which refuses as well
        assert b" 413" in answer

    @pytest.mark.parametrize(
        "path",
        [
            "/etc/passwd",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/..%2fmanifest.json",
            "//etc/passwd",
            "/manifest.json",
            "/volume/run/../../manifest.json",
            "/volume/run/..%2f..%2fmanifest",
            "/volume/../scene",
        ],
    )
    def test_nothing_else_is_served(self, server: Server, path: str) -> None:
        assert Asked(server, path).status in (404, 422)

    @pytest.mark.parametrize("path", ["/volume/run/x", "/volume/new/warped", "/map/x"])
    def test_what_is_not_there(self, server: Server, path: str) -> None:
        found = Asked(server, path)
        assert found.status == 422
        assert "there is no" in found.json["error"]

    def test_headers(self, server: Server) -> None:
        for found in (Asked(server, "/"), Asked(server, "/scene", headers={"Cookie": None})):
            policy = found.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "frame-ancestors 'none'" in policy
            assert found.headers["x-content-type-options"] == "nosniff"
            assert found.headers["referrer-policy"] == "no-referrer"
            assert found.headers["cross-origin-resource-policy"] == "same-origin"
            assert found.headers["cache-control"] == "no-store"
            assert "server" not in found.headers

    def test_it_listens_to_this_machine_only(self, server: Server, run: Path) -> None:
        assert server._socket.getsockname()[0] == "127.0.0.1"
        with pytest.raises(InputError, match="choose another --port"):
            serve(run, server.port, PAGE)

    def test_tokens_differ(self, server: Server, run: Path) -> None:
        with serve(run, page=PAGE) as other:
            assert other.token != server.token
            assert len(other.token) >= 43

    def test_files_are_this_users_only(self, server: Server) -> None:
        path = server.session.volume("run", "fixed")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_the_browser_is_opened_without_the_token_in_its_arguments(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[str] = []
        monkeypatch.setattr("webbrowser.open", opened.append)
        server.open_browser()
        assert server.token not in opened[0]
        path = Path(opened[0].removeprefix("file://"))
        assert server.address in path.read_text(encoding="utf-8")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


class TestWhatIsServed:
    def test_scene_pairs_and_map(self, server: Server) -> None:
        scene = Asked(server, "/scene").json
        assert scene["fixed"]["shape"] == [3, 96, 96] or len(scene["fixed"]["shape"]) == 3
        assert scene["warped"]
        assert scene["complete"]
        pairs = Asked(server, "/pairs").json
        assert [row["id"] for row in pairs] == list(range(1, 9))
        z, y, x = scene["nodes"]
        assert len(Asked(server, "/map/run").content) == z * y * x * 3 * 4

    @pytest.mark.parametrize("name", ["fixed", "moving", "warped"])
    def test_volumes(self, server: Server, name: str, tmp_path: Path) -> None:
        import SimpleITK as sitk

        path = tmp_path / "volume.nii"
        path.write_bytes(Asked(server, f"/volume/run/{name}").content)
        found = sitk.ReadImage(str(path), sitk.sitkFloat32)
        image = {"fixed": server.session.scene.fixed, "moving": server.session.scene.moving}.get(
            name, server.session.scene.warped
        )
        assert image is not None
        np.testing.assert_allclose(sitk.GetArrayFromImage(found), image.data, atol=np.ptp(image.data) / 60000)
        np.testing.assert_allclose(found.GetOrigin(), image.grid.origin, atol=1e-4)
        np.testing.assert_allclose(found.GetDirection(), np.eye(3).ravel(), atol=1e-6)

    def test_a_browser_that_goes_away_is_no_news(self, run: Path) -> None:
        code = (
            "import sys, threading, socket, time\n"
            "from pathlib import Path\n"
            "from samreg.viewer import serve\nfrom samreg.viewer.page import Page\n"
            "if __name__ == '__main__':\n"
            "    big = Page({'index.html': (b'x' * 50_000_000, 'text/html')})\n"
            f"    server = serve({str(run)!r}, page=big)\n"
            "    thread = threading.Thread(target=server.run); thread.start()\n"
            "    while not server._server.started: time.sleep(0.01)\n"
            "    for path in ('/?token=' + server.token, '/scene'):\n"
            "        raw = socket.create_connection(('127.0.0.1', server.port))\n"
            "        cookie = f'samreg_{server.port}={server.token}'\n"
            "        host = f'127.0.0.1:{server.port}'\n"
            "        lines = [f'GET {path} HTTP/1.1', f'Host: {host}', f'Cookie: {cookie}', '', '']\n"
            "        raw.sendall('\\r\\n'.join(lines).encode())\n"
            "        raw.recv(10) if path != '/scene' else None\n"
            "        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0'); raw.close()\n"
            "    time.sleep(1); server.stop(); thread.join(); server.session.close()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_images_that_are_gone_or_changed_are_said(self, tmp_path: Path) -> None:
        run = make_run(tmp_path)
        result = true_result(3)
        (tmp_path / "moving.nii.gz").unlink()
        write_image(result.fixed.with_data(result.fixed.data + 1), tmp_path / "fixed.nii.gz")
        with serve(run, page=PAGE) as server:
            scene = server.session.describe()
            assert not scene["complete"]
            assert not scene["fixed"]["there"]
            assert "has changed" in scene["notes"][0]
            assert "not where it was" in scene["notes"][1]
            with pytest.raises(InputError, match="needs both images"):
                server.session.start("fit")
            with pytest.raises(InputError, match="needs both images"):
                server.session.prompt("fixed", {"point": [1, 1, 1]})

    def test_photographs_that_were_no_files(self, tmp_path: Path) -> None:
        scene = Scene.load(write_run(photograph_result(), tmp_path / "run", inverse=False))
        assert scene.describe()["fixed"]["flat"]
        assert scene.describe()["fixed"]["letters"] == (("", ""),) * 3
        scene.write("warped", tmp_path / "warped.nii")
        assert (tmp_path / "warped.nii").stat().st_size == 352 + 50 * 60 * 3

    def test_no_run_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="not a run folder"):
            serve(tmp_path, page=PAGE)


class TestThePage:
    def test_an_installation_without_it_says_what_is_missing(self, run: Path, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
        with pytest.raises(InputError, match=r"npm's registry could not be reached.*report\.html"):
            serve(run)

    def test_files_of_the_page_are_found_below_folders(self, tmp_path: Path, monkeypatch: Any) -> None:
        (tmp_path / "built" / "assets").mkdir(parents=True)
        (tmp_path / "built" / "index.html").write_bytes(b"a")
        (tmp_path / "built" / "assets" / "x.js").write_bytes(b"b")
        monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
        assert Page.load("run").files == {
            "index.html": (b"a", "text/html; charset=utf-8"),
            "assets/x.js": (b"b", "text/javascript; charset=utf-8"),
        }

    def test_a_build_without_a_registry_goes_on(self, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
        build = pytest.importorskip("hatch_build", reason="the tests run without the repository")
        monkeypatch.setattr(build, "TARGET", tmp_path / "built")
        monkeypatch.setattr(build, "_node", lambda: [sys.executable, "-c", "raise SystemExit('no network')"])
        assert build.build() is False
        assert "samreg view will say so" in capsys.readouterr().err
        assert not (tmp_path / "built").exists()


class TestTheCommand:
    def test_ctrl_c_ends_it_without_a_word(self, run: Path) -> None:
        code = (
            "import sys\nfrom samreg.viewer.page import Page\n"
            "Page.load = classmethod(lambda cls, run: cls({'index.html': (b'x', 'text/html')}))\n"
            "from samreg.cli import main\n"
            f"sys.exit(main(['view', {str(run)!r}, '--no-browser']))\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              encoding="utf-8",
                              env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert "http://127.0.0.1:" in line
            assert "?token=" in line
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=60)
        assert (rest, errors) == ("", "")
        assert process.returncode in (0, 130)

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["a", "b", "c"], "wants a run folder, or a fixed and a moving image"),
            (["a", "--out", "b"], "--out goes with two images"),
            (["gone.nii", "gone2.nii"], "gone.nii"),
        ],
    )
    def test_refused(
        self, arguments: list[str], word: str, tmp_path: Path, monkeypatch: Any, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["view", *arguments, "--no-browser"]) == 2
        assert word in capfd.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_two_images_become_a_run_without_pairs(self, run: Path, tmp_path: Path, monkeypatch: Any) -> None:
        from samreg.viewer.start import folder_for

        monkeypatch.chdir(tmp_path)
        fixed, moving = (run.parent / f"{side}.nii.gz" for side in ("fixed", "moving"))
        folder = folder_for(fixed, moving, None)
        assert folder == Path("view-fixed-moving")
        with serve(folder, page=PAGE) as server:
            scene = server.session.describe()
            assert scene["complete"]
            assert not scene["registered"]
            assert server.session.pairs() == []
        assert folder_for(fixed, moving, None) == folder
        with pytest.raises(InputError, match="a run of other images"):
            folder_for(moving, fixed, folder)

    def test_the_folder_of_two_pictures_is_named_without_their_endings(self, tmp_path: Path, monkeypatch: Any) -> None:
        from samreg.viewer.start import folder_for

        monkeypatch.chdir(tmp_path)
        result = photograph_result()
        fixed, moving = write_image(result.fixed, tmp_path / "a.png"), write_image(result.moving, tmp_path / "b.png")
        assert folder_for(fixed, moving, None) == Path("view-a-b")


class TestDisplay:
    GRIDS = (
        Grid((4, 5, 6), (1.0, 2.0, 3.0), (7.0, 8.0, 9.0)),
        Grid((4, 5, 6), (1.0, 2.0, 3.0), (7.0, 8.0, 9.0), ROTATED),
        Grid((4, 5, 6), (1.0, 2.0, 3.0), (7.0, 8.0, 9.0), ((-1.0, 0, 0), (0, 0, 1.0), (0, 1.0, 0))),
        Grid((5, 6), (1.0, 1.0), unit="px"),
    )

    @pytest.mark.parametrize("grid", GRIDS)
    def test_the_same_voxel_is_at_the_same_world_point(self, grid: Grid) -> None:
        display, values = Display(grid), np.arange(grid.n_voxels).reshape(grid.shape)
        shown = display.turned(values)
        assert shown.shape == display.shape
        np.testing.assert_array_equal(display.back(shown), values)
        index = np.argwhere(shown >= 0)
        flat = values.ravel()
        world = grid.voxel_centres().reshape(-1, grid.ndim)
        found = display.world(index[:, ::-1])
        np.testing.assert_allclose(found, world[flat.argsort()[shown[tuple(index.T)]]], atol=1e-9)
        np.testing.assert_allclose(display.index(found), index[:, ::-1], atol=1e-9)
        steps = display.matrix[:3, :3]
        for axis in range(grid.ndim):  # every axis runs to the left, the back and the head
            assert steps[axis, axis] > 0
            assert np.argmax(np.abs(steps[:, axis])) == axis

    @pytest.mark.parametrize("grid", GRIDS)
    def test_a_region_goes_there_and_back(self, grid: Grid) -> None:
        mask = np.zeros(grid.shape, bool)
        mask[tuple(slice(1, n - 1) for n in grid.shape)] = True
        mask[(1,) * grid.ndim] = False
        roi, display = Roi.from_mask(mask), Display(grid)
        entry = shown_roi(roi, display)
        whole = np.zeros(display.shape, bool)
        box = tuple(slice(a, a + n) for a, n in zip(entry["start"], entry["shape"], strict=True))
        whole[box] = unpack(entry["bits"], tuple(entry["shape"]), grid.n_voxels)
        np.testing.assert_array_equal(whole, display.turned(mask))
        back = unshown_roi(entry, display)
        assert back.start == roi.start
        np.testing.assert_array_equal(back.mask, roi.mask)

    def test_the_map_is_that_of_the_field(self) -> None:
        result = true_result(3)
        assert result.field is not None
        fixed, moving = Display(result.fixed.grid), Display(result.moving.grid)
        nodes, count = coarse_map(result.field, fixed, moving)
        axes = [np.linspace(0, n - 1, k) for n, k in zip(fixed.shape, count, strict=True)]
        at = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], -1).reshape(-1, 3)
        there = moving.index(result.field.transform_points(fixed.world(at)))
        np.testing.assert_allclose(nodes.reshape(-1, 3), there, atol=1e-3)

    def test_nodes_of_a_photograph_follow_what_the_field_bends(self) -> None:
        """Between nodes the page takes the map as linear; a click must not end pixels off."""
        grid = Grid((40, 1456), (1.0, 1.0), unit="px")
        x = np.arange(1456)
        u = np.zeros((40, 1456, 2), np.float32)
        u[..., 0] = 20 * np.sin(2 * np.pi * x / 200)
        shown = Display(grid)
        nodes, count = coarse_map(DisplacementField(u, grid), shown, shown)
        found = np.interp(x, np.linspace(0, 1455, count[2]), nodes[0, 0, :, 0])
        assert np.abs(found - (x + u[0, :, 0])).max() < 0.3

    def test_folded_voxels_are_marked(self) -> None:
        grid = Grid((3, 4, 5), (1.0, 1.0, 1.0))
        u = np.zeros((3, 4, 5, 3), np.float32)
        u[..., 0] = -2 * np.arange(5)
        steps, (slope, intercept) = jacobian_volume(DisplacementField(u, grid), None)
        assert (steps == FOLDED).all()
        u[..., 0] = np.arange(5)
        body = np.zeros(grid.shape, bool)
        body[1, 1:3, 1:4] = True
        steps, _ = jacobian_volume(DisplacementField(u, grid), body)
        np.testing.assert_allclose(steps[body] * slope + intercept, 1.0, atol=1e-3)
        assert (steps[~body] == NO_BODY).all()

    def test_grey_values_that_are_no_whole_numbers_keep_16_bits(self, tmp_path: Path) -> None:
        grid = Grid((1, 2, 3), (1.0, 1.0, 1.0))
        data = np.float32([[[0.0, 0.5, 1.0], [-3.0, 70000.0, 12.25]]])
        write_volume(data, Display(grid), tmp_path / "v.nii")
        raw = (tmp_path / "v.nii").read_bytes()
        slope, intercept = np.frombuffer(raw, "<f4", 2, 112)
        found = np.frombuffer(raw, "<i2", offset=352).reshape(data.shape) * slope + intercept
        np.testing.assert_allclose(found, data, atol=70003 / 65534)


class TestMasksAsText:
    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"bits": "§"}, "damaged"),
            ({"bits": "aGVsbG8="}, "damaged"),
            ({"bits": pack(np.ones((1, 2, 2), bool))}, "does not have"),
            ({"shape": [4, 5, 7]}, "outside"),
            ({"start": [-1, 0, 0]}, "outside"),
            ({"start": [0, 0]}, "outside"),
            ({"shape": "x"}, "wants start"),
            ({"bits": pack(np.zeros((4, 5, 6), bool))}, "empty"),
            ({"bits": pack(np.ones(10_000_000, bool))}, "does not have"),
        ],
    )
    def test_refused(self, change: dict[str, Any], word: str) -> None:
        display = Display(Grid((4, 5, 6), (1.0, 1.0, 1.0)))
        entry = {"start": [0, 0, 0], "shape": [4, 5, 6], "bits": pack(np.ones((4, 5, 6), bool)), **change}
        with pytest.raises(InputError, match=word):
            unshown_roi(entry, display)


def test_the_run_is_as_it_was_after_looking(run: Path, server: Server) -> None:
    assert Asked(server, "/pairs").status == 200
    assert not (run / "edits.json").exists()
    assert len(read_run(run).pairs) == 8
