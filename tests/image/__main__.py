"""`make test-image`: builds the images for CPUs and tries them. Exit code 3: there is no engine."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.image import contents, roles, serving
from tests.image.bases import Bases, find_bases
from tests.image.building import (
    TARGETS,
    Builder,
    a_builder,
    image,
    layers,
    refuses_nonsense,
    sends_what_it_needs_alone,
)
from tests.image.container import a_network, remove_volume, running, volume
from tests.image.engine import Engine, NoEngine, an_engine
from tests.image.keeping import is_backed_up_and_restored
from tests.image.samples import hostile, long_job, samples
from tests.image.transcript import Transcript

_NO_ENGINE = 3
_VOLUME = "fusebox-test"
_QUICK_CHECKS = ("--health-interval", "3s", "--health-retries", "1")


def main() -> int:
    begun = time.monotonic()
    transcript = Transcript()
    try:
        with an_engine() as engine:
            transcript.check("everything was tried", _try, engine, transcript)
    except NoEngine as error:
        print(f"The images were NOT tested: {error}", file=sys.stderr)
        return _NO_ENGINE
    transcript.figure("all of it", f"{time.monotonic() - begun:.0f} s")
    return transcript.close()


def _try(engine: Engine, transcript: Transcript) -> None:
    """What can not be built can not be tried either: that fails as a whole."""
    transcript.heading("Engine and base")
    transcript.figure(
        "engine", engine.docker("version", "--format", "{{.Server.Version}} on {{.Server.KernelVersion}}")
    )
    begun = time.monotonic()
    bases = find_bases(engine)
    transcript.figure("base", f"{bases.name}, {_megabytes(engine, bases.name)} ({time.monotonic() - begun:.0f} s)")
    with a_builder(engine, bases) as builder:
        _build(builder, transcript)
    for target in TARGETS:
        transcript.heading(f"Contents of {target}")
        _look_into(engine, transcript, bases, target)
    with TemporaryDirectory(prefix="fusebox-samples-") as place, a_network(engine):
        _serve(engine, transcript, Path(place))


def _look_into(engine: Engine, transcript: Transcript, bases: Bases, target: str) -> None:
    for look in (
        contents.runs_as_a_number,
        contents.owns_nothing_of_the_system,
        contents.lends_no_rights,
        contents.is_written_by_its_user_alone_where_it_must,
        contents.has_no_tools,
    ):
        transcript.check(_sentence(look.__name__), look, engine, target)
    transcript.check("is labelled", contents.is_labelled, engine, target)
    transcript.check("lists what it holds", contents.lists_what_it_holds, engine, target)
    if target == "worker":
        transcript.check("holds what the all-in-one holds", _same, engine, target, "fusebox")
    else:
        transcript.check(
            "hides nothing in its layers", contents.hides_nothing, engine, target, bases.name, bases.private
        )


def _same(engine: Engine, target: str, other: str) -> None:
    assert layers(engine, image(target)) == layers(engine, image(other))


def _build(builder: Builder, transcript: Transcript) -> None:
    engine = builder.engine
    transcript.heading("Builds")
    for target in TARGETS:
        seconds = builder.build(target, *(["--no-cache"] if target == TARGETS[0] else []))
        transcript.figure(f"{target}, cold", f"{seconds:.1f} s, {_megabytes(engine, image(target))}")
    transcript.check("sends what it needs alone", sends_what_it_needs_alone, builder)
    transcript.check("refuses what it can't build", refuses_nonsense, builder)
    before = layers(engine, image("fusebox"))
    builder.change_the_source()
    transcript.figure("fusebox, after a change of source", f"{builder.build('fusebox'):.1f} s")
    builder.build("worker")
    transcript.check(
        "a change of source replaces one layer alone", _last_alone, before, layers(engine, image("fusebox"))
    )


def _last_alone(before: list[str], after: list[str]) -> str:
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
    return f"{len(after) - 1} of {len(after)} layers are kept"


def _serve(engine: Engine, transcript: Transcript, place: Path) -> None:
    files = samples(place)
    checkpoint, long = files["a checkpoint"], long_job(place / "long.pt")
    transcript.heading("All-in-one: read-only, no capabilities, no new privileges, the engine's own seccomp filter")
    first, kept = volume(engine, f"{_VOLUME}-first"), volume(engine, _VOLUME)
    with running(engine, "fusebox", "--volume", f"{first}:/data") as container:
        transcript.check("becomes healthy", container.until_healthy)
        transcript.check("is ready, its jobs confined", serving.is_ready_and_confined, container)
        transcript.check("tells what it runs on", serving.tells_what_it_runs_on, container)
        transcript.check(
            "asks for the key that it printed", serving.asks_for_the_key_that_it_printed, container, checkpoint
        )
        key = container.key
        for kind, sample in files.items():
            transcript.check(f"fuses {kind} by curl", serving.fuses, container, sample, place)
        transcript.check("refuses a hostile file", serving.refuses, container, hostile(place / "hostile.pt"))
        transcript.check("has no right left", serving.has_no_right_left, container)
        transcript.check("writes nowhere else", serving.writes_nowhere_else, container)
        transcript.check("reaps what is left to it", serving.reaps_what_is_left_to_it, container)
        transcript.check("outlives its worker", serving.outlives_its_worker, container, long)
        transcript.check("is backed up and restored", is_backed_up_and_restored, container, kept, place)
    remove_volume(engine, first)
    transcript.check("finishes a job after kill -9", serving.finishes_after_kill, engine, kept, key, long)
    transcript.check("stops in time, and loses nothing", serving.stops_in_time, engine, kept, key, long)
    remove_volume(engine, kept)
    with running(engine, "fusebox", *_QUICK_CHECKS, "--env", "FUSEBOX_AUTH=off", publish=False) as container:
        transcript.check("fuses with no network at all", serving.needs_no_network, container, checkpoint)
        transcript.check("tells of a worker that hangs", serving.tells_of_a_worker_that_hangs, container)
    small = ("--tmpfs", "/data:size=64m,uid=10001,gid=10001,mode=0700", "--env", "FUSEBOX_MIN_FREE_BYTES=1M")
    with running(engine, "fusebox", *small, "--env", "FUSEBOX_AUTH=off") as container:
        transcript.check(
            "serves all with FUSEBOX_AUTH=off", serving.serves_all_without_keys, container, checkpoint, place
        )
        transcript.check("refuses what a full volume can't hold", serving.survives_a_full_volume, container, checkpoint)
    transcript.heading("Roles and filters")
    transcript.check("API and worker work apart", roles.work_apart, engine, checkpoint, place)
    transcript.check("the API says what it lacks", roles.api_says_what_it_lacks, engine)
    transcript.check("a worker without Landlock refuses to start", roles.worker_refuses_without_landlock, engine)
    transcript.check("a worker refuses a GPU that is missing", roles.worker_refuses_a_device_that_is_not_there, engine)
    if roles.PROFILE.exists():
        transcript.check("is confined under deploy's profile", roles.is_confined_under, engine, roles.PROFILE)


def _megabytes(engine: Engine, name: str) -> str:
    return f"{int(engine.docker('inspect', '--format', '{{.Size}}', name)) / 1e6:,.0f} MB"


def _sentence(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    sys.exit(main())
