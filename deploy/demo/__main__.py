"""Runs the main job and shows it: `nox -s demo`, or `nox -s demo -- --check` to have it checked unattended."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

# Run as a folder (`python deploy/demo`), so that nothing of the demo is part of the installed product.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from demo.processes import Failure, ancestors, is_running
from demo.show import Held, Show
from demo.stage import READY_WITHIN, Stage
from demo.steps import STEPS


def main() -> int:
    options = _options()
    kept = options.data is not None
    home = Path(options.data).resolve() if kept else Path(tempfile.mkdtemp(prefix="certctl-"))
    if kept and home.exists() and any(home.iterdir()):
        print(f"{home} is not empty: give a new folder, the demo tells its story from the beginning", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    show = Show()
    stage = Stage(home, show, options.ready_within)
    try:
        held = _play(stage)
        show.table()
        if held and not options.check:
            _leave_running(stage)
        return 0 if held else 1
    except KeyboardInterrupt:
        print("\nStopping.", flush=True)
        return 130 if options.check else 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stage.stop()
        left = _left_behind(home)
        if left:
            print(f"still running: {', '.join(left)}", file=sys.stderr)
        if kept:
            print(f"The data is in {home}.")
        else:
            shutil.rmtree(home, ignore_errors=True)
        if left:
            os._exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=__doc__)
    parser.add_argument("--check", action="store_true", help="run unattended: exit 0 only if every step held")
    parser.add_argument("--data", metavar="DIR", help="keep everything in DIR (default: a temporary folder)")
    parser.add_argument(
        "--ready-within",
        metavar="SECONDS",
        type=float,
        default=READY_WITHIN,
        help="how long the first start may take (default: %(default)g); give a busy machine more",
    )
    return parser.parse_args()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _play(stage: Stage) -> bool:
    """Every step in turn; the first that does not hold ends the play."""
    for number, (title, step) in enumerate(STEPS, start=1):
        stage.show.step(number, title)
        begun = time.monotonic()
        try:
            seen, ok = step(stage), True
        except (Failure, OSError) as failure:
            seen, ok = str(failure), False
        stage.show.line(seen if ok else f"FAILED: {seen}")
        stage.show.held(Held(title, seen, time.monotonic() - begun, ok))
        if not ok:
            print(f"\nThe end of the server's log:\n{stage.server.tail(40)}", file=sys.stderr)
            if stage.agent is not None:
                print(f"\nThe end of the agent's log:\n{stage.agent.tail(20)}", file=sys.stderr)
            return False
    return True


def _leave_running(stage: Stage) -> None:
    print(
        f"\nEverything is still running.\n\n"
        f"  dashboard  {stage.url}/\n  API key    {stage.key}\n  CA         {stage.ca_file}\n\n"
        "Log in with the API key. The browser does not know the CA: import it, or accept its warning.\n"
        "Press Ctrl-C to stop everything.",
        flush=True,
    )
    while True:
        signal.pause()


def _left_behind(home: Path) -> list[str]:
    """Processes with the demo's folder on their command line, other than this one and those it was started from."""
    ours = ancestors(os.getpid())
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        pid = int(entry.parent.name)
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(home) in words and pid not in ours and is_running(pid):
            found.append(f"{pid} {words[:80]}")
    return found


if __name__ == "__main__":
    sys.exit(main())
