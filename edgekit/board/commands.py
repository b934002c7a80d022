"""The commands of this folder: python3 -m board COMMAND …"""

import argparse
import importlib
import json
import os
import sys
from typing import Any, Dict, List

from .booted import BOOT_ID

EPILOG = "Example: python3 -m board run job.json"
OF_BUNDLES = {
    "infer": "check a bundle's golden outputs, or answer samples",
    "settle": "measure the candidates of a bundle and choose",
    "bench": "measure the bundle's artifact",
    "selftest": "check the golden outputs of all that is in a bundle, building engines where needed",
}
"""Commands of a bundle, each a module of its own with `main(arguments)`."""


def make_parser() -> argparse.ArgumentParser:
    """All commands with their arguments; those of OF_BUNDLES read their own."""
    parser = argparse.ArgumentParser(
        prog="board",
        description="What runs on a board: measuring, building engines, settling.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True  # Python 3.6 takes it as no argument
    run = commands.add_parser(
        "run",
        help="measure the entries of a job",
        description="Measures the entries of a job (explained in coordinator.py) and writes its result file. "
        "Progress goes to standard output, one JSON object a line.",
        epilog=EPILOG,
    )
    run.add_argument("job", metavar="JOB", help="JSON file; its paths are relative to its folder")
    commands.add_parser(
        "describe",
        help="say what this machine is, as JSON",
        description="Prints what this machine is, as JSON. No runtime is imported.",
        epilog="Example: python3 -m board describe",
    )
    engine = commands.add_parser(
        "engine",
        help="build the TensorRT engine of an artifact, or say that it still fits",
        description="Builds the TensorRT engine of an artifact by its build.json, or says that it still fits.",
        epilog="Example: python3 -m board engine bundle/model",
    )
    engine.add_argument("folder", metavar="FOLDER", help="of the artifact: an ONNX file and build.json")
    engine.add_argument(
        "--builder-level",
        type=int,
        choices=range(6),
        help="the builder's optimization level; its own without",
    )
    for name, said in OF_BUNDLES.items():
        commands.add_parser(name, help=said, add_help=False)
    guard = commands.add_parser("restore-power", help="put the power mode back; `run` starts it")
    guard.add_argument("--root", default="/", help="the folder below which the board's files are read")
    worker = commands.add_parser("worker", help="one entry of a job; `run` starts it")
    worker.add_argument("--cpus", default="", help="pin this process to these: 0,1")
    remote = commands.add_parser("remote", help="answer another machine's edgekit; it starts this over SSH")
    keep = commands.add_parser("keep", help="keep one job to its end; `remote` starts it")
    keep.add_argument("work", metavar="FOLDER", help="the work folder")
    keep.add_argument("name", metavar="JOB", help="of the job in it")
    remote.add_argument("work", metavar="FOLDER", help="the work folder")
    remote.add_argument(
        "--boot-id", default=BOOT_ID, metavar="FILE", help="that tells starts of the machine apart"
    )
    for process in (remote, keep):
        process.add_argument("--lock", default="/tmp", metavar="FOLDER", help="of the board's lock")
    for process in (run, engine, worker):
        process.add_argument(
            "--parent", type=int, metavar="PID", help="end when this process, the parent, ends"
        )
    return parser


def main(arguments: List[str]) -> int:
    """Run one command; gives its exit code. Modules are imported by the command that needs them."""
    if arguments[:1] and arguments[0] in OF_BUNDLES:
        program = importlib.import_module("." + arguments[0], __package__)
        return int(program.main(arguments[1:]))
    options = make_parser().parse_args(arguments)
    if getattr(options, "parent", None) is not None:
        from .process import die_with_parent

        die_with_parent(options.parent)
    if options.command == "run":
        return run(options.job)
    if options.command == "engine":
        from .tensorrt.engine import build_in

        return build_in(options.folder, options.builder_level)
    if options.command == "restore-power":
        from .powermodes import guard_until_end

        return guard_until_end(options.root)
    if options.command == "worker":
        if options.cpus and sys.platform == "linux":
            os.sched_setaffinity(0, {int(cpu) for cpu in options.cpus.split(",")})
        from .worker import serve

        return serve()
    if options.command == "remote":
        from . import remote

        return remote.main(options.work, options.lock, options.boot_id)
    if options.command == "keep":
        from . import keeper

        return keeper.main(options.work, options.name, options.lock)
    from .machine import describe

    print(json.dumps(describe()))
    return 0


def run(path: str) -> int:
    """Run a job file; progress goes to standard output. Gives 2 and one line when it is no job."""
    from .coordinator import read_job, run_job
    from .forms import one_line

    def report(message: Dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    try:
        job = read_job(path)
        run_job(job, os.path.dirname(os.path.abspath(path)), report)
    except (OSError, ValueError) as problem:
        sys.stderr.write("run: %s\n" % one_line(problem))
        return 2
    return 0
