"""The endpoint table of both ports."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.routing import Route, Router

from runestone_sidecar.edge.exchange import Answer, Exchanges
from runestone_sidecar.edge.generate import Generation
from runestone_sidecar.edge.health import Health
from runestone_sidecar.edge.models import Models
from runestone_sidecar.edge.request import App, Receive, Scope, Send
from runestone_sidecar.errors import MethodNotAllowed, NotFound
from runestone_sidecar.upstream.surfaces.base import Surface
from runestone_sidecar.upstream.surfaces.chat import OPENAI_CHAT


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one URL; Starlette's own refusal would not be OpenAI's envelope."""

    method: str
    answer: Answer
    exchanges: Exchanges
    surface: Surface = OPENAI_CHAT  # in whose words errors are told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == self.method:
            await self.exchanges.serve(scope, receive, send, self.answer, self.surface)
            return
        error = MethodNotAllowed(f"Use {self.method} for this URL.", allow=self.method)
        await self.exchanges.refuse(scope, send, error, self.surface)


@dataclass(frozen=True, slots=True)
class Api:
    """URLs without parameters by one look-up, the rest by Starlette's router, which costs more
    than authorization and routing of a request together."""

    fixed: Mapping[str, App]
    others: Router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.fixed.get(scope["path"]) or self.others
        await app(scope, receive, send)


def build_api(
    exchanges: Exchanges, generations: Mapping[str, Generation], models: Models, health: Health
) -> Api:
    """The API port's application. `generations`: the endpoints that ask a model, by their path."""

    async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
        await exchanges.refuse(scope, send, NotFound("There is no such URL here."))

    def endpoint(method: str, answer: Answer) -> Endpoint:
        return Endpoint(method, answer, exchanges)

    return Api(
        fixed={
            **{
                path: Endpoint("POST", found.answer, exchanges, found.surface)
                for path, found in generations.items()
            },
            "/v1/models": endpoint("GET", models.answer),
        },
        others=Router(
            [
                Route("/v1/models/{model:path}", endpoint("GET", models.answer)),
                *health.public_routes(),
            ],
            redirect_slashes=False,
            default=unknown,
        ),
    )


def build_health(health: Health) -> Router:
    """The health port's application."""
    return Router(health.routes(), redirect_slashes=False)
