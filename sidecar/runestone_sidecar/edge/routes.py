"""The endpoint table. First routes first: the router tries them in this order."""

from dataclasses import dataclass

from starlette.routing import Route, Router

from runestone_sidecar.edge.chat import ChatCompletions
from runestone_sidecar.edge.exchange import Exchanges
from runestone_sidecar.edge.health import Health
from runestone_sidecar.edge.models import Models
from runestone_sidecar.edge.request import App, Receive, Scope, Send
from runestone_sidecar.errors import MethodNotAllowed, NotFound


@dataclass(frozen=True, slots=True)
class Only:
    """Lets one method through; Starlette's own refusal would not be OpenAI's envelope."""

    method: str
    app: App
    exchanges: Exchanges

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == self.method:
            await self.app(scope, receive, send)
            return
        error = MethodNotAllowed(f"Use {self.method} for this URL.", allow=self.method)
        await self.exchanges.refuse(scope, send, error)


def build_api(
    exchanges: Exchanges, chat: ChatCompletions, models: Models, health: Health
) -> Router:
    """The API port's application."""

    async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await exchanges.refuse(scope, send, NotFound("There is no such URL here."))

    return Router(
        [
            Route("/v1/chat/completions", Only("POST", chat, exchanges)),
            Route("/v1/models", Only("GET", models, exchanges)),
            Route("/v1/models/{model:path}", Only("GET", models, exchanges)),
            *health.public_routes(),
        ],
        redirect_slashes=False,
        default=unknown,
    )


def build_health(health: Health) -> Router:
    """The health port's application."""
    return Router(health.routes(), redirect_slashes=False)
