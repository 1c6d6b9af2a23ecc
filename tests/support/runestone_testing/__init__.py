"""What tests are made with: real servers on kernel-picked ports, and builders of test data."""
