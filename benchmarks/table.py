"""The table of benchmarks/README.md, from benchmarks/results: python -m benchmarks.table"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = RESULTS.parent / "README.md"
HEAD = """# Benchmarks

Ratios of two sides that ran in turns in one run: the median, and the least and largest in brackets. `python -m
benchmarks.NAME` measures one of them again, `make benchmarks` all. [results/](results) holds every measurement with the
machine and the versions, and `python -m benchmarks.table` writes this page from it. Rows that name a GPU were measured
on one, all others on a CPU.

"""


@dataclass(frozen=True)
class Row:
    """One line: what was measured, by which script, the figure, and what it aims at."""

    what: str
    script: str
    figure: str
    aim: str = ""


def spread(found: Mapping[str, Any], *, unit: str = "") -> str:
    """Median, and the least and the largest."""
    largest = found["largest"] if "largest" in found else found["most"]
    return f"{found['median']:.3g}{unit} ({found['least']:.3g} to {largest:.3g})"


def rows(results: Mapping[str, Any]) -> Iterator[Row]:
    """The lines of the page, of those results that are there."""
    for name, found in results.items():
        if name in _TABLES:
            yield from _TABLES[name](found)


def _region_cnn(found: Mapping[str, Any]) -> Iterator[Row]:
    aims = {"torch / onnx": "at least 1.7", "predict / onnx": "at most 1.15", "medzoo / yolo11n": "at most 1.2"}
    for one in found["rows"]:
        if "ratio" in one:
            yield Row(one["name"], "region_cnn", spread(one), aims[one["ratio"]])


def _patch_cnn(found: Mapping[str, Any], *, machine: str = "") -> Iterator[Row]:
    speed = found["speed"]
    for way in ("direct", "winograd, float32 too"):
        words = "patch CNN of 5.9 million, a 1 mm slice, " + way.partition(",")[0] + " convolution: "
        for name, aim in (
            ("patches of 1024 over it", "at least 3.5"),
            ("MONAI SlidingWindowInferer (64, 0.25) over it", "at least 4"),
            ("rate over matmul rate", "at least 0.9"),
        ):
            yield Row(words + name + machine, "patch_cnn", spread(speed[way][name]), aim)
    what = f"patch CNN by winograd, float32 too: direct over it{machine}"
    yield Row(what, "patch_cnn", spread(speed["winograd, float32 too"]["direct over it"]))
    for name in ("bf16", "int8"):
        if fast := speed.get(f"{name}, the fast mode"):
            what = f"patch CNN in {name}: direct float32 over it{machine}"
            yield Row(what, "patch_cnn", spread(fast["direct over it"]), "at least 2.3")
    unet = speed["U-Net"]["direct"]["U-Net over patch CNN, all slices"]
    yield Row(f"U-Net's seconds over the patch CNN's{machine}", "patch_cnn", f"{unet:.3g}", "at most 0.33")


def _classifier(found: Mapping[str, Any]) -> Iterator[Row]:
    for name, one in found.items():
        if isinstance(one, Mapping) and "over ONNX" in name:
            low, _, high = (
                one["quartiles"] if len(one["quartiles"]) == 3 else (one["quartiles"][0], 0, one["quartiles"][1])
            )
            yield Row(name, "classifier", f"{one['ratio']:.3g} (quartiles {low:.3g} to {high:.3g})", "at least 1.7")
    for logging, aim in (("with logging", 1.1), ("without logging", 0.6)):
        one = found["trainer over a plain loop"][logging]
        figure = f"{one['added_ms_a_step']:.3g} ms (a plain step: {one['plain_ms_a_step']:.3g} ms)"
        yield Row(f"training over a plain loop, {logging}: added to a step", "classifier", figure, f"at most {aim} ms")
    for where, one in found["loader over memory"].items():
        if not isinstance(one, Mapping):
            continue
        low, high = one["quartiles"]
        figure = f"{one['ratio']:.3g} (quartiles {low:.3g} to {high:.3g})"
        yield Row(f"step with the loader over one on data in memory, {where}", "classifier", figure, "at most 1.1")


def _server(found: Mapping[str, Any]) -> Iterator[Row]:
    for protocol, words in (("http", "HTTP"), ("grpc", "gRPC")):
        ms = found["overhead_at_512x512"][protocol]["overhead_ms"]
        yield Row(
            f"server over the bare graph call, 512 x 512, {words}", "server", spread(ms, unit=" ms"), "at most 1 ms"
        )
    for way, one in found["requests"].items():
        if isinstance(one, Mapping) and "medzoo / kserve" in one:
            yield Row(
                f"requests a second over KServe's Python server, {way}",
                "server",
                spread(one["medzoo / kserve"]),
                "at least 2",
            )
    killed = found["killed_worker"]["seconds"]
    yield Row("seconds until the next answer after kill -9", "server", spread(killed, unit=" s"), "at most 5 s")


def _predict(found: Mapping[str, Any]) -> Iterator[Row]:
    for model, one in found["models"].items():
        figure = spread(one["predict / bare"])
        yield Row(
            f"{model}: 200 PNG files by predict over the bare graph on decoded arrays",
            "predict",
            figure,
            "at least 0.9",
        )


def _training(found: Mapping[str, Any]) -> Iterator[Row]:
    for one in found.get("processes", {}).get("rows", ()):
        yield Row(
            f"{one['name']}: two processes over one, samples a second",
            "training",
            spread(one["two_over_one"]),
            "at least 0.9",
        )
    for one in found.get("saving", {}).get("rows", ()):
        yield Row(
            f"{one['name']}: share of a run that saving its state takes",
            "training",
            spread(one["share_of_the_run"]),
            "at most 0.02",
        )
    for one in found.get("start", {}).get("rows", ()):
        again, first = one["seconds_beyond_lightning"]["median"], one["first_time"]["seconds_beyond_lightning"]
        words = f"{one['name']}: start to first step, beyond importing Lightning"
        yield Row(words, "training", f"{again:.3g} s, the first time {first:.3g} s", "at most 12 s")


def _data_audit(found: Mapping[str, Any]) -> Iterator[Row]:
    last = found["runs"][-1]
    yield Row(
        f"audit of {last['images']:,} images of 256 x 256", "data_audit", f"{last['seconds']:.3g} s", "at most 60 s"
    )
    growth = found["cpu_per_image_last_over_first"]
    yield Row("audit: processor time an image, all of them over a quarter", "data_audit", f"{growth:.3g}", "1: linear")


def _dicom_series(found: Mapping[str, Any]) -> Iterator[Row]:
    figure = f"{found['times_as_fast_as_simpleitk']:.3g}"
    yield Row("a DICOM series of 300 slices: SimpleITK's seconds over ours", "dicom_series", figure, "at least 1")


def _masks(found: Mapping[str, Any]) -> Iterator[Row]:
    low, high = found["spread"]
    words = f"{found['what']}: resizing each into a picture of its own over pasting"
    yield Row(words, "masks", f"{found['ratio']:.3g} ({low:.3g} to {high:.3g})", "at least 2")
    yield Row(f"{found['what']}: pasting, processor time", "masks", f"{found['milliseconds']:.3g} ms", "at most 60 ms")


def _startup(found: Mapping[str, Any]) -> Iterator[Row]:
    for name, one in found["ratios"].items():
        yield Row(name, "startup", spread(one))


def _streams(found: Mapping[str, Any]) -> Iterator[Row]:
    for one in found["rows"]:
        words = f"memory of a training on {one['items']:,} {one['kind']}: second half of the steps over the first"
        yield Row(words, "streams", f"{one['growth']:.4g}", "1: flat")


def _gpu(found: Mapping[str, Any]) -> Iterator[Row]:
    for part, one in found["parts"].items():
        if "first_answer_s" not in one:
            continue
        words = f"{part} on {found['device']}"
        yield Row(f"{words}: seconds to the first answer", "gpu", f"{one['first_answer_s']:.3g} s", "at most 10 s")
        if (rate := one.get("batch 8, images_per_s")) is not None:
            yield Row(f"{words}: images a second in batches of 8", "gpu", f"{rate:.4g}")


def _gpu_head(found: Mapping[str, Any]) -> Iterator[Row]:
    words = f"patch CNN of 5.9 million, a whole head on {found['device']}"
    for way, one in found["rows"].items():
        half = way.startswith("float16")
        figure = spread(one["gpu_seconds"], unit=" s")
        yield Row(f"{words}, {way}: seconds of GPU", "gpu_head", figure, "at most 0.25 s" if half else "")
        yield Row(
            f"{words}, {way}: rate over the card's matrix rate", "gpu_head", f"{one['rate over matrix rate']:.3g}"
        )


def _gpu_training(found: Mapping[str, Any]) -> Iterator[Row]:
    words = f"training {found['network']} in bf16 on {found['device']}"
    figure = f"{found['images_a_second']['trainer']['median']:.4g}"
    yield Row(f"{words}: images a second", "gpu_training", figure)
    yield Row(f"{words}: over a plain loop", "gpu_training", spread(found["trainer_over_plain"]))


def _sliding_window(found: Mapping[str, Any]) -> Iterator[Row]:
    size = " x ".join(map(str, found["volume"]))
    words = f"residual U-Net over {size} voxels in patches, one thread: CPU seconds of MONAI's inferer over ours"
    yield Row(words, "sliding_window", f"{found['ratios']['monai / medzoo']:.3g}", "at least 1.3")
    words = "sliding window over 512 x 512 x 300 voxels, the network left out: peak memory"
    yield Row(words, "sliding_window", f"{found['peak_mib_of_512x512x300'] / 1024:.3g} GiB", "at most 3 GiB")


_TABLES = {
    "region_cnn": _region_cnn,
    "patch_cnn": _patch_cnn,
    "patch_cnn_without_bf16": partial(_patch_cnn, machine=" (processor without AVX-512 and bf16)"),
    "classifier": _classifier,
    "predict": _predict,
    "server": _server,
    "training": _training,
    "streams": _streams,
    "data_audit": _data_audit,
    "dicom_series": _dicom_series,
    "startup": _startup,
    "masks": _masks,
    "gpu": _gpu,
    "gpu_head": _gpu_head,
    "gpu_training": _gpu_training,
    "sliding_window": _sliding_window,
}


def page(results: Mapping[str, Any]) -> str:
    """The page's Markdown."""
    lines = ["| what | measured | aim | script |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.figure} | {row.aim} | {row.script} |" for row in rows(results)]
    return HEAD + "\n".join(lines) + "\n"


def read() -> dict[str, Any]:
    """The results that are there, by name, in the order of the page."""
    found = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    return {name: found[name] for name in _TABLES if name in found}


if __name__ == "__main__":
    PAGE.write_text(page(read()))
