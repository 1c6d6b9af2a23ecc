"""What the cluster looks like, as typed views, and the compiler's inputs made from them."""
