"""Chat streams that go on without their client, as llama-server has them."""
