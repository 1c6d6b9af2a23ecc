"""What is known of a provider, for how long, and of which place."""

from runestone_contract.config import Pool
from runestone_sidecar.admit.load import UNASKED_S, LoadStore
from runestone_sidecar.config.build import Credentials, build_pool
from runestone_testing import bundles

MAIN = "shop/pool/main"


def configured(loads: LoadStore, *urls: str) -> None:
    pool = Pool(id="shop/pool", providers=tuple(map(bundles.provider, urls)))
    credentials = Credentials("", {"cred-a": bundles.PROVIDER_KEY})
    built = build_pool(pool, credentials)
    loads.follow(built.providers, built.offers)


def test_a_model_is_asked_again_after_a_while() -> None:
    load = LoadStore().of(MAIN)
    load.leave_unasked("a", 100.0)
    assert not load.may_ask_usage("a", 99.0 + UNASKED_S)
    assert load.may_ask_usage("b", 100.0)
    assert load.may_ask_usage("a", 100.0 + UNASKED_S)
    assert load.unasked == {}


def test_a_reload_keeps_it_and_a_new_address_does_not() -> None:
    loads = LoadStore()
    configured(loads, "http://one/v1")
    loads.of(MAIN).leave_unasked("a", 100.0)
    configured(loads, "http://one/v1")
    assert loads.of(MAIN).unasked
    configured(loads, "http://two/v1")
    assert not loads.of(MAIN).unasked


def test_what_is_configured_no_more_is_forgotten() -> None:
    loads = LoadStore()
    configured(loads, "http://one/v1")
    loads.of(MAIN).leave_unasked("a", 100.0)
    configured(loads)
    configured(loads, "http://one/v1")
    assert not loads.of(MAIN).unasked


def test_how_quick_it_is_is_known_of_one_address() -> None:
    loads = LoadStore(clock=lambda: 100.0)
    configured(loads, "http://one/v1")
    loads.of(MAIN).begin_call(100.0)
    loads.of(MAIN).observe_first_byte(0.5)
    configured(loads, "http://one/v1")
    assert loads.of(MAIN).expected_s(100.0) == 0.5
    configured(loads, "http://two/v1")
    assert loads.of(MAIN).expected_s(100.0) == 0.0
