"""The dialect in which llama-server's router has its models managed, as Open WebUI and others speak it."""
