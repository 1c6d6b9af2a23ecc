"""The endpoint table of both ports."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final

from starlette.routing import Route, Router

from runestone_sidecar.edge.exchange import Answer, Exchanges
from runestone_sidecar.edge.generate import Generation
from runestone_sidecar.edge.health import Health
from runestone_sidecar.edge.jobs import PATH as JOBS
from runestone_sidecar.edge.jobs import Jobs
from runestone_sidecar.edge.request import App, Receive, Scope, Send, speaks_anthropic
from runestone_sidecar.errors import MethodNotAllowed, NotFound
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT
from runestone_sidecar.upstream.surfaces.messages import MESSAGES
from runestone_sidecar.upstream.surfaces.passthrough import PASSTHROUGH

# Either mistake in a base URL ends here.
UNKNOWN_URL: Final = (
    "There is no such URL here. The base URL of an OpenAI SDK ends in /v1, that of an Anthropic SDK"
    " does not."
)
HANDED_ON: Final = ("moderations", "audio", "images", "files", "batches", "fine_tuning")


# These hand the awaitable of another on: a coroutine of their own would be one more to wake with
# every chunk of a stream.


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one URL; Starlette's own refusal would not be OpenAI's envelope."""

    method: str
    answer: Answer
    exchanges: Exchanges
    surface: Surface = OPENAI_CHAT  # in whose words errors are told

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["method"] == self.method:
            return self.exchanges.serve(scope, receive, send, self.answer, self.surface)
        error = MethodNotAllowed(f"Use {self.method} for this URL.", allow=self.method)
        return self.exchanges.refuse(scope, send, error, self.surface)


@dataclass(frozen=True, slots=True)
class Shared:
    """A URL that both vendors' SDKs ask for: who speaks Anthropic's API names its version."""

    openai: App
    anthropic: App

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self.anthropic if speaks_anthropic(scope) else self.openai
        return app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class HandedOn:
    """Which URLs and methods there are below these names is the answer's to say."""

    answer: Answer
    exchanges: Exchanges
    surface: Surface = PASSTHROUGH  # in whose words errors are told

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.exchanges.serve(scope, receive, send, self.answer, self.surface)


@dataclass(frozen=True, slots=True)
class Unknown:
    exchanges: Exchanges
    surface: Surface

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.exchanges.refuse(scope, send, NotFound(UNKNOWN_URL), self.surface)


@dataclass(frozen=True, slots=True)
class Api:
    """URLs without parameters by one look-up, the rest by Starlette's router, which costs more
    than authorization and routing of a request together."""

    fixed: Mapping[str, App]
    others: Router

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self.fixed.get(scope["path"]) or self.others
        return app(scope, receive, send)


def build_api(
    exchanges: Exchanges,
    generations: Mapping[str, Generation],
    others: Mapping[str, tuple[str, Answer, Surface]],
    passthrough: Answer,
    health: Health,
    jobs: Jobs | None = None,
) -> Api:
    """The API port's application, by path: `generations` ask a model, `others` (a method, its
    answer and in whose words errors are told) tell of it, `passthrough` hands on to a provider,
    `jobs` tells of those that are answered later."""

    def endpoint(method: str, answer: Answer, surface: Surface) -> Endpoint:
        return Endpoint(method, answer, exchanges, surface)

    method, models, _ = others["/v1/models"]
    of_models = Shared(endpoint(method, models, OPENAI_CHAT), endpoint(method, models, MESSAGES))
    handed_on = Shared(HandedOn(passthrough, exchanges), HandedOn(passthrough, exchanges, MESSAGES))
    return Api(
        fixed={
            **{
                path: endpoint("POST", found.answer, found.surface)
                for path, found in generations.items()
            },
            **{path: endpoint(*other) for path, other in others.items()},
            "/v1/models": of_models,
        },
        others=Router(
            [
                *(Route(f"/v1/{name}/{{rest:path}}", handed_on) for name in HANDED_ON),
                *(Route(f"/v1/{name}", handed_on) for name in HANDED_ON),
                Route("/v1/models/{model:path}", of_models),
                *(_of_jobs(jobs, exchanges) if jobs else ()),
                *health.public_routes(),
            ],
            redirect_slashes=False,
            default=Shared(Unknown(exchanges, OPENAI_CHAT), Unknown(exchanges, MESSAGES)),
        ),
    )


def _of_jobs(jobs: Jobs, exchanges: Exchanges) -> list[Route]:
    answer = HandedOn(jobs.answer, exchanges)
    return [
        Route(JOBS, answer),
        Route(f"{JOBS}/{{job}}", answer),
        Route(f"{JOBS}/{{job}}/retry", HandedOn(jobs.retry, exchanges)),
    ]


def build_health(health: Health) -> Router:
    """The health port's application."""
    return Router(health.routes(), redirect_slashes=False)
