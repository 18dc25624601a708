"""How much the command line says: quiet, JSON, progress, interrupts, and whose mistake it was."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from samreg.cli import main
from samreg.cli.completion import script
from samreg.cli.output import begin
from samreg.cli.progress import ProgressLines, left
from samreg.errors import InputError
from samreg.geometry.image import Image
from samreg.geometry.phantom import phantom
from samreg.io.images import write_image, write_labels
from samreg.regions.cache import RegionsCache
from samreg.regions.regions import Regions


@pytest.fixture(autouse=True)
def _as_ever() -> Any:
    yield
    begin(())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    pair = phantom(2)
    for side in ("fixed", "moving"):
        image = getattr(pair, side)
        write_image(image, folder / f"{side}.nii.gz")
        write_labels(getattr(pair, f"{side}_labels"), image.grid, folder / f"{side}_labels.nii.gz")
    return folder


def register(images: Path, out: Path, *options: str) -> int:
    labels = [f"--{side}-labels={images / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    files = [str(images / "fixed.nii.gz"), str(images / "moving.nii.gz")]
    return main(["register", *files, "-o", str(out), *labels, "--labels-only", "--transform", "affine", *options])


class TestRegister:
    def test_json_is_the_only_line_on_stdout(
        self, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "a [bold]run[/bold]  of two"
        assert register(images, out, "--json") == 0
        said = capfd.readouterr()
        row = json.loads(said.out)
        assert said.out.count("\n") == 1
        assert (row["command"], row["status"], row["exit_status"], row["error"]) == ("register", "done", 0, None)
        assert (row["run"], row["pairs"]) == (str(out), 8)
        manifest = json.loads((out / "manifest.json").read_text("utf-8"))
        assert row["confidence"] == pytest.approx(manifest["confidence"], abs=1e-3)
        assert row["warnings"] == manifest["warnings"]
        assert f"written to {out};" in said.err
        assert row["seconds"] > 0

    def test_quiet(self, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert register(images, tmp_path / "run", "--quiet") == 0
        assert capfd.readouterr().out == ""

    def test_the_first_line_says_what_is_read(
        self, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["register", str(images / "fixed.nii.gz"), "[red].nii", "-o", str(tmp_path / "run")]) == 2
        said = capfd.readouterr()
        assert said.out == "reading fixed.nii.gz and [red].nii\n"
        assert "[red].nii: " in said.err

    def test_regions_that_are_known_are_said(
        self, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def known(*_: object, **__: object) -> None:
            logging.getLogger("samreg.cache").info("found %s", "fixed.nii.gz")
            raise KeyboardInterrupt

        monkeypatch.setattr("samreg.pipeline.register", known)
        files = [str(images / f"{side}.nii.gz") for side in ("fixed", "moving")]
        assert main(["register", *files, "-o", str(tmp_path / "run")]) == 130
        assert "fixed.nii.gz: its regions are known from an earlier run" in capfd.readouterr().out.splitlines()

    def test_an_interrupt_says_that_segmented_images_are_kept(
        self, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object, **__: object) -> None:
            if kept[-1]:
                logging.getLogger("samreg.cache").info("encoded %s", "fixed")
            raise KeyboardInterrupt

        monkeypatch.setattr("samreg.pipeline.register", stop)
        files = [str(images / f"{side}.nii.gz") for side in ("fixed", "moving")]
        kept: list[bool] = []
        for now, word in ((False, "nothing was written"), (True, "segmented images are kept for the next run")):
            kept.append(now)
            assert main(["register", *files, "-o", str(tmp_path / "run"), "--json"]) == 130
            said = capfd.readouterr()
            assert said.err.splitlines()[-1] == f"samreg: interrupted; {word}"
            assert json.loads(said.out)["status"] == "interrupted"


def test_segment_keeps_regions_for_the_next_registration_unless_asked_not_to(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[object] = []

    def segment(image: Image, *_: object, cache: object, progress: object) -> Regions:
        caches.append(cache)
        return Regions.none(image)

    monkeypatch.setattr("samreg.pipeline.segment", segment)
    for name, options in (("kept", []), ("new", ["--no-cache"])):
        assert main(["segment", str(images / "fixed.nii.gz"), "-o", str(tmp_path / name), *options]) == 0
    assert isinstance(caches[0], RegionsCache)
    assert caches[1:] == [None]


class TestMistakes:
    def test_a_mistake_as_json(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["register", "a.nii", "--json"]) == 2
        said = capfd.readouterr()
        row = json.loads(said.out)
        assert (row["status"], row["exit_status"]) == ("failed", 2)
        assert said.err == f"samreg: {row['error']}\n"
        assert main(["register", "a.nii"]) == 2
        assert capfd.readouterr().out == ""

    @pytest.mark.parametrize("port", ["99999", "-1"])
    def test_a_port_that_is_none(self, port: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["view", "nowhere", f"--port={port}"]) == 2
        assert f"port (--port) is {port}: give a whole number from 0 to 65535" in capfd.readouterr().err

    def test_quiet_and_verbose(self) -> None:
        with pytest.raises(InputError, match="give one of them"):
            begin(["-q", "--verbose"])

    def test_options_of_another_package_are_its_own(self) -> None:
        assert begin(["--json", "x", "-q"], ("json",)) == ["--json", "x"]

    @pytest.mark.parametrize(
        ("error", "status", "word"),
        [
            (PermissionError(errno.EACCES, "no", "/data/[a]  b.nii"), 2, "/data/[a]  b.nii: Permission denied"),
            (OSError(errno.ENAMETOOLONG, "long", "x" * 300), 2, "File name too long"),
            (OSError(errno.ENOSPC, "full"), 2, "No space left on device"),
            (OSError(errno.EADDRINUSE, "used"), 2, "Address already in use"),
            (MemoryError(), 1, "not enough memory"),
            (OSError(errno.EPIPE + 10_000, "odd"), 1, "an error inside samreg"),
        ],
    )
    def test_what_the_machine_lacks_is_no_error_inside_samreg(
        self,
        error: Exception,
        status: int,
        word: str,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("samreg.cli._command", fail)
        monkeypatch.delenv("SAMREG_TRACEBACK", raising=False)
        assert main(["models"]) == status
        said = capfd.readouterr().err
        assert word in said
        assert ("inside samreg" in said) == (word == "an error inside samreg")
        assert said.count("\n") == 1


class TestProgress:
    def test_a_log_is_never_silent_for_long(self, capfd: pytest.CaptureFixture[str]) -> None:
        with ProgressLines(silence=0.2) as progress:
            progress.begin("reading a")
            progress("segment fixed", 1, 4)
            time.sleep(0.1)
            progress("segment fixed", 2, 4)
            time.sleep(1.5)
            progress("segment fixed", 4, 4)
        lines = capfd.readouterr().out.splitlines()
        assert lines[0] == "reading a"
        assert "encode and prompt fixed, 2 of 4, " in lines[1]
        assert lines[1].endswith(" left")
        assert lines[-1].startswith("encode and prompt fixed: 4 of 4, ")
        assert len(lines) >= 4

    def test_what_goes_on_has_a_name_after_the_last_step_of_an_image(self) -> None:
        """A photograph is one step: its end is the first that is told, and then the other image is at work."""
        progress = ProgressLines()
        progress.begin("loading the segmenter")
        progress("segment fixed", 1, 1)
        assert progress._now == "encode and prompt moving"
        progress("segment moving", 1, 1)
        assert progress._now == "start and pairs"

    def test_one_amount_over_all_stages(self) -> None:
        progress = ProgressLines()
        seen = []
        for stage, done in (
            ("segment fixed", 5),
            ("segment fixed", 10),
            ("segment moving", 5),
            ("fit", 5),
            ("fit", 10),
        ):
            progress(stage, done, 10)
            seen.append(round(progress._work.share, 3))
        assert seen == [0.21, 0.42, 0.63, 0.885, 0.93]  # what follows the fit reports no steps

    def test_images_from_the_cache_are_done(self) -> None:
        progress = ProgressLines()
        progress("segment moving", 1, 2)
        assert progress._work.share == pytest.approx(21 / 58)
        progress("fit", 1, 2)
        assert progress._work.share == pytest.approx(46.5 / 58)
        other = ProgressLines()
        other("epochs", 1, 4)
        assert other._work.share == 0.25

    def test_time_left(self) -> None:
        progress = ProgressLines()
        assert progress._work.left(0.0) is None
        progress._work.add("epochs", 0.1, 100.0)  # whatever came before
        assert progress._work.left(101.0) is None
        progress._work.add("epochs", 0.3, 120.0)
        assert progress._work.left(120.0) == pytest.approx(70)
        assert left(None) == ""
        assert left(61) == "about 1 min 01 s left"
        assert left(9.6) == "about 10 s left"

    def test_compiling_is_shown_and_the_loggers_are_as_before(self, capfd: pytest.CaptureFixture[str]) -> None:
        logger = logging.getLogger("samreg.segmenters.engines.openvino_engine")
        with ProgressLines():
            logger.info("compiling networks, once, about %d s", 12)
        logger.info("compiling more")
        assert capfd.readouterr().out == "compiling networks, once, about 12 s\n"

    def test_once_networks_are_compiled_what_went_on_before_goes_on(self, capfd: pytest.CaptureFixture[str]) -> None:
        logger = logging.getLogger("samreg.segmenters.engines.openvino_engine")
        with ProgressLines(silence=0.02) as progress:
            progress.begin("reading")
            logger.info("compiling networks, once, about %d s", 12)
            time.sleep(0.1)
            logger.info("compiled")
            while_compiling = capfd.readouterr().out
            time.sleep(0.1)
        assert "compiling networks, once, about 12 s, 0 s so far" in while_compiling
        after = capfd.readouterr().out.splitlines()
        assert after
        assert after[-1].startswith("reading, 0 s so far")

    def test_quiet(self, capfd: pytest.CaptureFixture[str]) -> None:
        begin(["--quiet"])
        with ProgressLines(silence=0.02) as progress:
            progress.begin("reading")
            progress("fit", 2, 2)
            progress.message("text")
            time.sleep(0.1)
        assert capfd.readouterr() == ("", "")


class TestCompletion:
    @staticmethod
    def offered(tmp_path: Path, *words: str) -> list[str]:
        (tmp_path / "samreg.bash").write_text(script("bash"))
        ask = f'source samreg.bash; COMP_WORDS=("$@"); COMP_CWORD={len(words) - 1}; _samreg; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(
            ["bash", "-c", ask, "-", *words], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
        )
        return done.stdout.split()

    def test_bash(self, tmp_path: Path) -> None:
        assert self.offered(tmp_path, "samreg", "reg") == ["register"]
        assert self.offered(tmp_path, "samreg", "register", "--no-v") == ["--no-verify"]
        assert self.offered(tmp_path, "samreg", "batch", "--preset", "") == ["default", "fast", "regions", "paper"]
        assert self.offered(tmp_path, "samreg", "completion", "") == ["bash", "zsh", "fish"]
        assert self.offered(tmp_path, "samreg", "register", "a") == []  # then bash offers files

    def test_names_that_other_packages_may_add(self, tmp_path: Path) -> None:
        offered = self.offered(tmp_path, "samreg", "register", "--transform", "")
        assert offered == ["ddf", "ffd", "svf", "affine", "rigid", "none"]

    @pytest.mark.skipif(shutil.which("fish") is None, reason="no fish on this machine: apt-get install fish")
    def test_fish_itself(self, tmp_path: Path) -> None:
        (tmp_path / "samreg.fish").write_text(script("fish"))

        def offered(line: str) -> list[str]:
            ask = ["fish", "-N", "-c", f"source samreg.fish; complete -C '{line}'"]
            home = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
            done = subprocess.run(ask, cwd=tmp_path, env=home, capture_output=True, encoding="utf-8", check=True)
            return [row.split("\t")[0] for row in done.stdout.splitlines()]

        assert offered("samreg reg") == ["register"]
        assert offered("samreg register --no-v") == ["--no-verify"]
        assert sorted(offered("samreg batch --preset ")) == ["default", "fast", "paper", "regions"]
        assert offered("samreg register samreg.f") == ["samreg.fish"]

    @pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on this machine: apt-get install zsh")
    def test_zsh_itself(self, tmp_path: Path) -> None:
        """On a terminal, where zsh completes what is typed before the tabulator."""
        (tmp_path / "_samreg").write_text(script("zsh"))
        home = {**os.environ, "HOME": str(tmp_path), "TERM": "dumb"}
        shown = ""
        for wait in (2, 8, 30):  # a shell gives no sign when it is ready: where it was too slow, wait longer
            typed = (
                "zmodload zsh/zpty; zpty z zsh -f -i; "
                "zpty -w z 'PS1=ready; fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d $PWD/dump'; "
                f"sleep {wait}; zpty -w -n z $'samreg register --no-ver\t'; "
                f"sleep {wait}; zpty -w -n z $'\x15samreg batch --preset reg\t'; "
                f"sleep {wait}; while zpty -r -t z line; do print -r -- $line; done; zpty -d z"
            )
            shown = subprocess.run(
                ["zsh", "-f", "-c", typed], cwd=tmp_path, env=home, capture_output=True, encoding="utf-8"
            ).stdout
            if "--preset regions " in shown and "--no-verify " in shown:
                break
        assert "samreg register --no-verify " in shown
        assert "samreg batch --preset regions " in shown

    def test_zsh_and_fish_name_every_option(self) -> None:
        zsh, fish = script("zsh"), script("fish")
        assert "'--preset[What all settings start from" in zsh
        assert ":value:(default fast regions paper)'" in zsh
        assert "-n '__fish_seen_subcommand_from register' -l no-cache -d" in fish
        assert "-l preset -x -a 'default fast regions paper'" in fish
        assert zsh.replace("'\\''", "").count("'") % 2 == 0

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_command_prints_it(self, shell: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["completion", shell]) == 0
        assert capfd.readouterr().out.startswith(("# ", "#compdef"))
