"""What a request costs: run it by hack/bench. Nothing here is part of the product."""
