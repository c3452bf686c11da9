"""Every task of the project: `nox -l` lists them, `nox -s NAME -- ARGUMENTS` runs one.

Each session installs what it needs into an environment of its own, at the versions that constraints.txt names.
"""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types", "imports", "docs"]

PROJECT = nox.project.load_toml("pyproject.toml")
PACKAGES = ("certctl_core", "certctl_adapters", "certctl_web", "certctl_agent", "certctl_mcp", "certctl_cli")
SCRIPTS = ("bench", "deploy/demo", "docs", "hatch_build.py", "noxfile.py")
ZLINT = "v3.7.3"
PROGRAMS = ("server", "agent", "cli", "mcp")


def install(session: nox.Session, *groups: str, extras: tuple[str, ...] = PROGRAMS) -> None:
    """Install certctl with `extras`, editable, and the dependency groups; without extras only the groups."""
    wanted = nox.project.dependency_groups(PROJECT, *groups) if groups else ()
    project = ("-e", f".[{','.join(extras)}]") if extras else ()
    compiled = ("--compile-bytecode",) if session.venv_backend == "uv" else ()
    session.install(*compiled, "-c", "constraints.txt", *project, *wanted)
    if project:
        # The first start of a program should not be the slow one.
        session.run("python", "-m", "compileall", "-q", *PACKAGES)


@nox.session
def demo(session: nox.Session) -> None:
    """One certificate's whole life on real servers. `-- --check` runs it unattended, `-- --data DIR` keeps the data."""
    install(session, extras=("server", "agent", "cli"))
    session.run("python", "deploy/demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything but interop, e2e and api, two at a time, with coverage. Arguments go to pytest."""
    install(session, "test")
    elsewhere = ("--ignore=tests/interop", "--ignore=tests/e2e", "--ignore=tests/api")
    session.run("pytest", "-n", "2", "--dist", "worksteal", "--cov", "--cov-report=term", *elsewhere, *session.posargs)


@nox.session
def interop(session: nox.Session) -> None:
    """Against foreign programs. A missing one is skipped by name, and fails the session when CI is set."""
    install(session, "interop")
    path = os.pathsep.join([str(zlint(session)), os.environ["PATH"]])
    session.run("pytest", "tests/interop", *session.posargs, env={"PATH": path})


@nox.session
def nightly(session: nox.Session) -> None:
    """100,000 new mutations for every reader of foreign bytes. Takes half an hour; arguments go to pytest."""
    install(session, "test")
    session.run("pytest", "-n", "2", "tests/mutations", *session.posargs, env={"CERTCTL_MUTATIONS": "100000"})


def zlint(session: nox.Session) -> Path:
    """The folder with zlint in it, which is made with Go. Where that is missing, tests that need it say so."""
    folder = session.cache_dir.resolve() / f"zlint-{ZLINT}"
    if shutil.which("go") is None:
        session.warn("There is no Go on this machine, so zlint is not asked.")
    elif not (folder / "zlint").exists():
        environment = {"GOBIN": str(folder), "GOPATH": str(folder / "go"), "GOFLAGS": "-modcacherw"}
        made = f"github.com/zmap/zlint/v3/cmd/zlint@{ZLINT}"
        session.run("go", "install", made, env=environment, external=True, success_codes=range(256))
    return folder


@nox.session
def e2e(session: nox.Session) -> None:
    """Server, worker and agent as processes, and a real browser."""
    install(session, "e2e")
    session.run("pytest", "tests/e2e", *session.posargs)


@nox.session
def api(session: nox.Session) -> None:
    """A running server against its own description, as each role."""
    install(session, "api")
    session.run("pytest", "tests/api", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely mistakes."""
    install(session, "lint", extras=())
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over every package, the demo and the scripts."""
    install(session, "types")
    session.run("mypy", "--strict", *PACKAGES, *SCRIPTS, *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Who may import whom."""
    install(session, "imports", extras=())
    session.run("lint-imports")


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks in bench/, or those named; `-- --small` for a quick look, `-- --help` for the rest."""
    install(session)
    session.run("python", "-m", "bench", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Is docs/reference what the code says, and does every link lead somewhere? `-- --write` writes the reference."""
    install(session, "docs")
    session.run("python", "docs/generate.py", *([] if "--write" in session.posargs else ["--check"]))
    session.run("python", "docs/links.py")


@nox.session
def dist(session: nox.Session) -> None:
    """Build the sdist and the wheel, check what is in them, and try the wheel in clean environments."""
    install(session, "dist", extras=())
    target = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(target, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(target), ".")
    session.run("python", "tests/house/distribution.py", str(target), *session.posargs)
