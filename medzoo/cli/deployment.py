"""Commands that deploy models: guard, calibrate, export, serve, token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from medzoo.cli.arguments import CudaGraphs, Device, Engines, Gpu, GpuMemory, Model, Out, gpu_options, one_of
from medzoo.cli.terminal import print_message
from medzoo.errors import UserError
from medzoo.io.limits import SERVER

_TOLD = ("temperature", "threshold", "ece_before", "ece_after", "log_loss_before", "log_loss_after", "f1")


def export(
    model: Model,
    out: Out = None,
    to: Annotated[str, typer.Option(help="onnx or triton.")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8; bf16 is only measured, in PyTorch.")] = "fp32",
) -> None:
    """Export a model folder's weights to ONNX, checked by the parity gate, or to a Triton repository.

    With the model folder itself as -o, a lower-precision file becomes part of it.
    """
    chosen = one_of("--precision", precision, ("fp32", "fp16", "int8", "bf16"))
    if one_of("--to", to, ("onnx", "triton")) == "triton":
        if chosen == "bf16":
            raise UserError(
                "bf16 runs in PyTorch and has no graph for Triton", "--precision bf16", "fp32, fp16 or int8"
            )
        from medzoo.commands.export import export_triton

        print_message(f"written to {export_triton(model, out=out, precision=chosen)}: a Triton model repository")
        return
    from medzoo.commands.export import export as run_export

    written = run_export(model, out=out, precision=chosen, say=print_message)
    within = "as torch does" if chosen == "fp32" else f"within what {chosen} is allowed"
    print_message(f"written to {written}: {'torch' if chosen == 'bf16' else 'ONNX Runtime'} answers {within}")


def guard(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="The new model folder.")],
) -> None:
    """Give a trained model a guard, which tells inputs of another kind; no training, and no PyTorch.

    It is fitted to the model's own training and validation data; graph and weights stay as they are.
    """
    from medzoo.commands.guard import guard_model

    folder = guard_model(model, out=out)
    rates = folder.manifest["guard"]["rates"]
    sure, refused = f"{100 * rates['own-yes']:.1f} %", f"{100 * rates['own-no']:.1f} %"
    print_message(f"written to {folder.path}: its validation images are familiar in {sure}, refused in {refused}")


def calibrate(
    model: Model,
    on: Annotated[
        str, typer.Option("--on", metavar="RECIPE|FOLDER", help="Local labelled cases: a recipe, or a folder of them.")
    ],
    out: Out = None,
) -> None:
    """Set temperature, threshold, conformal sets and guard from local labelled cases; weights stay as they are.

    The result is a new model folder (default: NAME-local) that names its parent by digest.
    """
    from medzoo.commands.calibrate import calibrate as run_calibrate

    folder = run_calibrate(model, on=on, out=out)
    facts = folder.manifest["local"]
    told = [f"{name.replace('_', ' ')} {facts[name]:.3g}" for name in _TOLD if name in facts]
    print_message(f"written to {folder.path}, from {facts['items']} local items: {', '.join(told)}")


def serve(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Zoo names, model folders, .onnx files.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; by default only this machine can connect.")
    ] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port; 0 lets the system choose.")] = 8000,
    grpc_port: Annotated[int, typer.Option(min=-1, max=65535, help="gRPC port; -1 turns gRPC off.")] = 8001,
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Token file, one client per line (see medzoo token); reloaded when it changes."
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with one bearer token for all clients; or set $MEDZOO_TOKEN.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow access from the network without tokens.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Additional host name of the server; * for any.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", "--tls-cert", metavar="FILE", help="PEM file.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file.")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM file of the authorities that must have signed client certificates."),
    ] = None,
    audit_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append a JSON line per request to this file.")
    ] = None,
    audit_fsync: Annotated[
        bool, typer.Option("--audit-fsync", help="Sync each line to disk before the response (slower).")
    ] = False,
    max_batch: Annotated[int, typer.Option(min=1, help="Maximum batch size.")] = 8,
    max_delay_ms: Annotated[
        float, typer.Option(min=0, help="How long a request may wait to be batched with others.")
    ] = 0,
    max_queue: Annotated[int, typer.Option(min=1, help="Maximum number of waiting requests per model.")] = 64,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Maximum size of a request.")] = 256,
    max_pixels: Annotated[int, typer.Option(min=1, help="Maximum rows times columns of a picture.")] = SERVER.pixels,
    max_voxels: Annotated[
        int, typer.Option(min=1, help="Maximum number of values of a volume, over all channels.")
    ] = SERVER.voxels,
    max_decoded_mb: Annotated[int, typer.Option(min=1, help="Maximum size of a decoded image.")] = SERVER.decoded_bytes
    >> 20,
    max_archive_mb: Annotated[
        int, typer.Option(min=1, help="Maximum size of an unpacked archive.")
    ] = SERVER.archive_bytes >> 20,
    max_decoder_mb: Annotated[
        int, typer.Option(min=64, help="Memory limit for decoding and preparing one image.")
    ] = 896,
    max_decoder_seconds: Annotated[
        float, typer.Option(min=0.1, help="CPU time limit for decoding and preparing one image.")
    ] = 60,
    max_json_mb: Annotated[
        int, typer.Option(min=1, help="Maximum JSON of a request; send large tensors as binary data.")
    ] = 32,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Maximum number of HTTP connections, and of gRPC connections.")
    ] = 512,
    max_client_connections: Annotated[
        int, typer.Option(min=1, help="Maximum number of either per client address.")
    ] = 128,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds within which a request must be processed.")] = 60,
    drain: Annotated[float, typer.Option(min=0, help="Seconds to finish active requests on SIGTERM.")] = 30,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    gpu: Gpu = None,
    gpu_memory_mb: GpuMemory = None,
    cuda_graphs: CudaGraphs = False,
    engines: Engines = None,
    supervise: Annotated[bool, typer.Option(help="Restart the server if it crashes.")] = True,
) -> None:
    """Serve models over HTTP and gRPC with the Open Inference Protocol, and a page to try them."""
    from medzoo.commands.serve import read_token
    from medzoo.commands.serve import serve as run_server
    from medzoo.serve.settings import Settings

    settings = Settings(
        host=host,
        http_port=http_port,
        grpc_port=None if grpc_port < 0 else grpc_port,
        token=read_token(token_file),
        tokens=tokens,
        allow_hosts=tuple(allow_host or ()),
        insecure=insecure,
        certificate=tls_certificate,
        key=tls_key,
        client_ca=tls_client_ca,
        audit_log=audit_log,
        audit_fsync=audit_fsync,
        max_batch_size=max_batch,
        max_delay=max_delay_ms / 1000,
        max_queue=max_queue,
        max_body=max_body_mb << 20,
        timeout=timeout,
        drain=drain,
        max_inflight_bytes=max(512, 2 * max_body_mb) << 20,
        max_json=max_json_mb << 20,
        max_connections=max_connections,
        max_client_connections=max_client_connections,
        limits=replace(
            SERVER,
            pixels=max_pixels,
            voxels=max_voxels,
            decoded_bytes=max_decoded_mb << 20,
            archive_bytes=max_archive_mb << 20,
        ),
        decoder_memory=max_decoder_mb << 20,
        decoder_seconds=max_decoder_seconds,
    )
    code = run_server(
        models,
        settings,
        device=one_of("--device", device, ("auto", "cpu", "cuda", "tensorrt")),
        precision=one_of("--precision", precision, ("auto", "fp32", "fp16", "int8")),
        gpu=gpu_options(number=gpu, memory_mb=gpu_memory_mb, graphs=cuda_graphs, engines=engines, precision=precision),
        supervised=supervise,
    )
    raise typer.Exit(code)


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Client name: letters, digits, '.', '_', '-'.")],
    tokens: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Token file of the server, to which the line is appended.")
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Remove the client's tokens from the file.")] = False,
) -> None:
    """Create a client's access token; it is printed once, and the file stores only its salted digest."""
    from medzoo.serve.tokens import add_token, revoke_tokens

    if revoke:
        if tokens is None:
            raise UserError("needs the token file", where="--revoke", hint="add --tokens FILE")
        print_message(
            f"{tokens}: {revoke_tokens(name, tokens)} tokens of {name} removed; a running server needs no restart"
        )
        return
    made, line = add_token(name, tokens)
    print_message(f"written to {tokens}" if tokens is not None else f"line for the token file: {line}")
    print(made)
