"""What hack/cluster-up, cluster-image, cluster-previous, cluster-run and cluster-down do."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cluster import lifecycle, machine
from cluster.errors import ClusterError, MachineError
from cluster.layout import DEFAULT_NAME, REPOSITORY, cache_folder, layout_of
from cluster.run import phase, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNABLE: Final = 3


def up(options: argparse.Namespace) -> None:
    if options.check:
        machine.check(cache_folder())
        return
    layout = layout_of(options.name)
    with phase(f"{layout.name} is up, in all"):
        lifecycle.up(layout, with_images=not options.no_images)
    print(f"export KUBECONFIG={layout.kubeconfig}")


def down(options: argparse.Namespace) -> None:
    with phase(f"{options.name} is down, in all"):
        lifecycle.down(layout_of(options.name))


def run(options: argparse.Namespace) -> None:
    if not options.command:
        raise ClusterError("nothing to run")
    layout = layout_of(options.name)
    node = lifecycle.running_node(layout)
    programs = lifecycle.find_programs()
    env = os.environ | {
        "KUBECONFIG": str(layout.kubeconfig),
        "PATH": f"{programs.api}:{programs.node}:{machine.SEARCHED}",
        "RUNESTONE_CLUSTER": layout.name,
    }
    argv = [*node.inside("net"), *options.command]
    sys.stdout.flush()
    os.execvpe(argv[0], argv, env)


def image(options: argparse.Namespace) -> None:
    lifecycle.add_image(
        layout_of(options.name),
        options.image,
        dockerfile=options.dockerfile,
        context=options.context,
        target=options.target,
    )


def previous(options: argparse.Namespace) -> None:
    print(lifecycle.add_previous(layout_of(options.name)))


def parser() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(prog="cluster", description=__doc__)
    commands = parent.add_subparsers(required=True)

    def command(
        name: str, does: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        child = commands.add_parser(name, prog=f"hack/cluster-{name}", description=text)
        child.add_argument("--name", default=os.environ.get("RUNESTONE_CLUSTER", DEFAULT_NAME))
        child.set_defaults(does=does)
        return child

    makes = command("up", up, "Make a cluster, or see that it is ready; print its KUBECONFIG.")
    makes.add_argument("--no-images", action="store_true", help="none of this checkout's images")
    makes.add_argument("--check", action="store_true", help=f"only try: exit {UNABLE} if it cannot")
    command("down", down, "End a cluster; nothing of it stays but what the next one needs.")
    adds = command("image", image, "Build an image on the base image and put it into a cluster.")
    adds.add_argument("image", help="its name in the cluster, such as shop:dev")
    adds.add_argument("dockerfile", type=Path)
    adds.add_argument("--context", type=Path, default=REPOSITORY, help="default: the checkout")
    adds.add_argument("--target", help="the stage to build (default: the last one)")
    command(
        "previous",
        previous,
        "Put the images of the version before into a cluster; print where its sources are.",
    )
    runs = command("run", run, "Run a command in the cluster's network, as its administrator.")
    runs.add_argument("command", nargs=argparse.REMAINDER)
    return parent


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        options.does(options)
    except MachineError as error:
        for reason in error.reasons:
            say(f"no node can run here: {reason}")
        return UNABLE
    except ClusterError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
