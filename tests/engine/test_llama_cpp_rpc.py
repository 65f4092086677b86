"""One model over other processes' devices: the same answers, and one sentence for every way to lose a server."""

from __future__ import annotations

import logging
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from localai_flask.config.blocks import Parameters
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ConfigError, ModelLoadFailed
from localai_flask.generation import Delta
from localai_flask.pool.client.session import Session
from tests.engine.conftest import load_engine
from tests.support import gguf_models as models
from tests.support.pool import Pool, ask, whole
from tests.support.processes import state, wait_for
from tests.support.rpc import RpcWorker
from tests.support.server import free_port

LONG = {"max_tokens": 24, "ignore_eos": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return models.random_llama(tmp_path_factory.mktemp("rpc") / "model.gguf", layers=4, width=128)


@contextmanager
def answering(reply: bytes | None) -> Iterator[str]:
    """A server that answers every client in the same way, or (None) never."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                if reply is not None:
                    client.sendall(reply)
                client.recv(64)
                client.recv(64)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_model_over_two_workers_answers_as_here(model, caplog):
    here = load_engine(model)
    expected = [here.generate(text, **LONG).output_tokens for text in ("hello", "world")]
    here.backend.close()
    with RpcWorker() as first, RpcWorker() as second, caplog.at_level(logging.DEBUG):
        engine = load_engine(model, f"rpc_servers:{first.address},{second.address}")
        jobs = [engine.submit(text, **LONG) for text in ("hello", "world")]
        engine.run()
        for letter in "ab":
            engine.generate(letter * 100, max_tokens=1)
        assert not engine.backend.cache.store.entries  # idle tokens stay where they are instead of travelling
        engine.backend.close()
        assert [job.output_tokens for job in jobs] == expected
        for worker in (first, second):  # each holds a part of the model
            assert f"[{worker.address}] model buffer size" in caplog.text
        again = load_engine(model, f"grpc_servers:{second.address}")  # a server takes the next client
        assert again.generate("hello", **LONG).output_tokens == expected[0]
        again.backend.close()


def test_servers_come_from_the_environment_below_yaml(model, monkeypatch):
    monkeypatch.setenv("LLAMACPP_GRPC_SERVERS", f"127.0.0.1:{free_port()}")
    with pytest.raises(ModelLoadFailed, match="cannot be reached"):
        load_engine(model)
    with RpcWorker() as worker:
        load_engine(model, f"rpc_servers:{worker.address}").backend.close()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (struct.pack("<QBBB25x", 28, 9, 0, 0), "speaks version 9.0.0 of the protocol"),
        (b"", "does not answer; it serves one client at a time"),
        (None, "does not answer; it serves one client at a time"),
    ],
)
def test_servers_that_cannot_be_used_are_named(model, monkeypatch, reply, words):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.rpc.client.PATIENCE_S", 0.5)
    with answering(reply) as address, pytest.raises(ModelLoadFailed) as caught:
        load_engine(model, f"rpc_servers:{address}")
    assert f"The RPC server {address} {words}" in str(caught.value)


@pytest.mark.parametrize("server", ["somewhere", "host:", ":50052x"])
def test_what_is_no_address_is_said(model, server):
    with pytest.raises(ConfigError, match="is not written as host:port"):
        load_engine(model, f"rpc_servers:{server}")


def test_a_worker_ends_on_a_signal_and_refuses_a_taken_address(capfd):
    from localai_flask.backends.llama_cpp.rpc.server import serve

    worker = RpcWorker()
    with worker, pytest.raises(ConfigError, match=f"Cannot listen at {worker.address}: Address already in use"):
        serve(worker.address)
    assert worker.process is not None and worker.process.returncode == 0
    with pytest.raises(ConfigError, match="There is no device 'CUDA7'"):
        serve(worker.address, devices=["CUDA7"])
    with pytest.raises(ConfigError, match="is not written as host:port"):
        serve("nowhere")


def ready(pool: Pool, config: ModelConfig) -> Session | None:
    """Begin work with a model, unless it cannot be loaded now."""
    try:
        return pool.session(config)
    except ApiError as error:
        assert error.info.code == ModelLoadFailed.code
        return None


def refusal(pool: Pool, config: ModelConfig) -> str:
    """Return why the model cannot be had; "" while it can."""
    try:
        pool.session(config)
    except ApiError as error:
        return str(error)
    return ""


def test_a_lost_worker_is_named_and_found_again(model, tmp_path):
    pool = Pool(tmp_path, LOCALAI_MODEL_LOAD_FAILURE_COOLDOWN="0.2")
    try:
        with RpcWorker() as first, RpcWorker() as second:
            config = ModelConfig(
                name="far",
                backend="llama-cpp",
                models_path=str(model.parent),
                parameters=Parameters(model=model.name),
                context_size=2048,
                options=(f"rpc_servers:{first.address},{second.address}", "parallel:1"),
            )
            expected = whole(ask(pool.session(config), "hello", temperature=0.0, **LONG))[0]
            running = ask(pool.session(config), "hello", temperature=0.0, max_tokens=2000, ignore_eos=True)
            events = running.events()
            next(event for event in events if event is not None and isinstance(event[1], Delta))
            (victim,) = pool.workers()
            second.stop(signal.SIGKILL)
            with pytest.raises(ApiError, match=f"The RPC server {second.address} is gone; start it again"):
                list(events)
            wait_for(lambda: state(victim) == "", 20, "the worker that lost its server gone")
            said = wait_for(lambda: refusal(pool, config), 20, "a refusal, once the loss of the channel is known")
            assert f"The RPC server {second.address} cannot be reached" in said
            second.start()
            session = wait_for(lambda: ready(pool, config), 60, "the model loaded again")
            assert whole(ask(session, "hello", temperature=0.0, **LONG))[0] == expected
    finally:
        pool.close()
