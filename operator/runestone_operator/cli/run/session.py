"""One `runestone run` from the first child to the last: start, tell, follow the files, stop."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runestone_operator.cli.failure import FAILED
from runestone_operator.cli.load import Loaded
from runestone_operator.cli.mount import BundleDir
from runestone_operator.cli.run import nats
from runestone_operator.cli.run.child import Child, NeverReadyError
from runestone_operator.cli.run.follow import Follower
from runestone_operator.cli.run.greeting import Greeting, pasted_key, rotation_notes
from runestone_operator.cli.run.health import Health
from runestone_operator.cli.run.options import Options
from runestone_operator.cli.run.reload import Reloader
from runestone_operator.cli.run.say import pass_on, say, tell, write
from runestone_operator.cli.run.watch import watch
from runestone_operator.cli.sidecar import (
    environment_without_keys,
    sidecar_command,
    sidecar_environment,
)
from runestone_operator.cli.state import StateDir

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DRAIN_S: Final = 25  # the sidecar's own limit, unless RUNESTONE_DRAIN_SECONDS says otherwise
_GRACE_S: Final = 5  # beyond that
_SLOW_START_S: Final = 15


class Session:
    """`folder` is ours alone. Without a reloader, no files are watched."""

    def __init__(
        self,
        options: Options,
        loaded: Loaded,
        *,
        folder: Path,
        state: StateDir,
        reloader: Reloader | None,
    ) -> None:
        self._options = options
        self._loaded = loaded
        self._folder = folder
        self._state = state
        self._reloader = reloader
        self._bundle = BundleDir(folder)
        self._health = Health(options.base_url, options.health_url)
        self._stop = asyncio.Event()
        self._nats = self._nats_child()
        self._sidecar = self._sidecar_child()

    async def run(self) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        build = self._loaded.build
        self._bundle.write(build.config_files, build.credential_files, settle=lambda: None)
        code = 0
        try:
            await self._keep_everything_running()
        except* NeverReadyError as errors:
            say(f"{errors.exceptions[0]}: giving up")
            code = FAILED
        finally:
            await self._end_children(grace_s=0)
            await self._health.close()
        return code

    async def _keep_everything_running(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sidecar.keep_running())
            if self._nats is not None:
                group.create_task(self._keep_nats(self._nats))
            serving = group.create_task(self._serve())
            await self._stop.wait()
            serving.cancel()
            await self._end_children(grace_s=_drain_s() + _GRACE_S)

    async def _end_children(self, *, grace_s: float) -> None:
        """The sidecar first: what it still answers may need the other."""
        await self._sidecar.stop(grace_s=grace_s)
        if self._nats is not None:
            await self._nats.stop(grace_s=grace_s)

    def _on_signal(self) -> None:
        """Once: requests under way are answered. Twice: stop now."""
        if self._stop.is_set():
            self._sidecar.signal(signal.SIGTERM)
            return
        say("stopping: requests under way are answered first (once more to stop at once)")
        self._stop.set()

    # -- the children --

    def _sidecar_child(self) -> Child:
        options = self._options
        settings = {
            "HOST": options.host,
            "PORT": str(options.port),
            "HEALTH_HOST": options.host,
            "HEALTH_PORT": str(options.health_port),
        }
        if self._nats is not None:
            settings["NATS_URL"] = f"nats://{nats.LOOPBACK}:{options.nats_port}"
        return Child(
            name="the sidecar",
            command=sidecar_command(),
            env=sidecar_environment(self._folder, **settings),
            say=say,
            take_line=pass_on if options.json_log else tell,
        )

    def _nats_child(self) -> Child | None:
        port = self._options.nats_port
        if port is None:
            return None
        program = nats.nats_program()
        if program is None:
            say("nats-server is not installed: going on without it")
            return None
        return Child(
            name="nats-server",
            command=nats.nats_command(program, self._folder, port),
            env=environment_without_keys(),
            say=say,
            take_line=pass_on,
        )

    async def _keep_nats(self, child: Child) -> None:
        """Requests are served without it, so its failure is no reason to stop."""
        port = self._options.nats_port
        assert port is not None
        proof = asyncio.create_task(_prove(child, port))
        try:
            nats.write_nats_config(self._folder)
            await child.keep_running()
        except (NeverReadyError, OSError) as error:
            say(f"{error}: going on without it (see {nats.nats_log(self._folder)})")
        finally:
            proof.cancel()

    # -- what is said and done while it serves --

    async def _serve(self) -> None:
        await self._until_ready()
        self._sidecar.is_proven = True
        await self._greet()
        if self._reloader is not None:
            follower = Follower(self._reloader, self._bundle, self._health, self._loaded)
            await watch(self._reloader.source.paths, follower.look)

    async def _until_ready(self) -> None:
        ready = asyncio.ensure_future(self._health.ready())
        while not ready.done():
            done, _ = await asyncio.wait([ready], timeout=_SLOW_START_S)
            if not done:
                applied = await self._health.applied()
                why = f": {applied.refused}" if applied and applied.refused else ""
                say(f"still waiting for the sidecar{why}")
        await ready

    async def _greet(self) -> None:
        build = self._loaded.build
        key = build.client_keys[0]
        visible = await self._health.chat_models(key.value)
        notes = ["Stop with Ctrl-C."]
        if self._reloader is not None:
            paths = ", ".join(self._reloader.source.paths)
            notes[:0] = rotation_notes(self._loaded.world, build.namespace)
            notes.insert(0, f"Edit {paths}: changes are applied while requests run.")
        greeting = Greeting(
            build=build,
            base_url=self._options.base_url,
            health_url=self._options.health_url,
            key=key,
            pasted=pasted_key(
                key,
                file=self._state.key_file(build.namespace, key.name),
                in_full=self._options.show_key,
            ),
            models=[*(model for model in _as_written(self._loaded) if model in visible)] or visible,
            notes=notes,
        )
        write("\n".join(greeting.lines()))


async def _prove(child: Child, port: int) -> None:
    await nats.nats_answers(port)
    child.is_proven = True


def _as_written(loaded: Loaded) -> list[str]:
    """Model names in the order of the files: what comes first is what was meant first."""
    names = {
        model["name"]: None
        for ref, found in loaded.world.resources.items()
        if ref.kind == "ProviderPool" and ref.namespace == loaded.build.namespace
        for provider in found.document.node.plain()["spec"]["providers"]
        for model in provider["models"]
    }
    return list(names)


def _drain_s(env: Mapping[str, str] = os.environ) -> float:
    text = env.get("RUNESTONE_DRAIN_SECONDS", "")
    return float(text) if text.isascii() and text.isdigit() else _DRAIN_S
