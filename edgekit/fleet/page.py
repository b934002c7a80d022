"""`fleet.json` and `report.html` of several boards: a verdict for each, and what one model for all would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit._version import __version__
from edgekit.errors import OutputError
from edgekit.files import check_own_file, write_atomically
from edgekit.fleet.boards import BoardBuild
from edgekit.fleet.common import CommonModel, common_model
from edgekit.report.html import page_environment
from edgekit.report.verdict import best_candidate, headline
from edgekit.report.wording import latency_sentence
from edgekit.result import Result, load_result
from edgekit.types import Verdict

__all__ = ["BoardRow", "FleetResult", "summed_up", "write_fleet"]

SCHEMA = 1
FINISHED = (0, 3, 4)
"""Exit codes of a build that came to a verdict."""


@dataclass(frozen=True)
class BoardRow:
    """One board. Without a `verdict`, `told` says why its build came to none. `latency`: of `best`, in words."""

    board: str
    folder: str
    code: int
    verdict: Verdict | None
    target: str
    best: str | None
    latency: str
    told: str


@dataclass(frozen=True)
class FleetResult:
    """`fleet.json`. `common`: None where no artifact was measured on every board."""

    schema: int
    boards: tuple[BoardRow, ...]
    common: CommonModel | None

    @property
    def code(self) -> int:
        """Exit code: 0 every board's budget is met, else that of the board that is worst off."""
        codes = [row.code for row in self.boards]
        unfinished = [code for code in codes if code not in FINISHED]
        return max(unfinished, default=next((code for code in (3, 4) if code in codes), 0))


def summed_up(builds: Sequence[BoardBuild]) -> FleetResult:
    """What became of each board's build, read from its folder."""
    results = {build.board: load_result(build.folder) for build in builds if build.code in FINISHED}
    rows = tuple(_row(build, results.get(build.board)) for build in builds)
    return FleetResult(SCHEMA, rows, common_model(results))


def _row(build: BoardBuild, result: Result | None) -> BoardRow:
    if result is None:
        return BoardRow(build.board, build.folder.name, build.code, None, "", None, "", build.told)
    best = best_candidate(result)
    latency = result.confirmed or (best.latency_ms if best else None)
    return BoardRow(
        board=build.board,
        folder=build.folder.name,
        code=build.code,
        verdict=result.verdict,
        target=result.target.name,
        best=best.id if best else None,
        latency=latency_sentence(latency, best.origin) if best and latency else "",
        told=headline(result),
    )


def write_fleet(fleet: FleetResult, out: Path) -> None:
    """Write both files into `out`. Raises OutputError."""
    import msgspec

    page = out / "report.html"
    check_own_file(page)
    drawn = (
        page_environment("edgekit.fleet")
        .get_template("fleet.html.j2")
        .render(fleet=fleet, version=__version__)
    )
    content = msgspec.json.format(msgspec.json.encode(asdict(fleet)), indent=1)
    try:
        write_atomically(out / "fleet.json", content + b"\n")
        write_atomically(page, drawn.encode("utf-8"))
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}") from error
