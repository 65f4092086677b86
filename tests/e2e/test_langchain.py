"""LangChain's own standard tests of chat models, over the two families that its integrations speak.

The demo model is a toy: those tests that need a model which copies what it is asked into a call's arguments have one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests

from localai_flask.gallery.starter import NAME as SMOLLM2
from tests.support.server import Server

NEEDS_A_MODEL = ("test_tool_calling", "test_tool_calling_async", "test_unicode_tool_call_integration")


@pytest.mark.filterwarnings("default")  # the integrations warn of their own deprecations
class OnTheServer(ChatModelIntegrationTests):
    url: ClassVar[str]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _served(cls, server: Server) -> None:
        cls.url = server.url

    @pytest.fixture
    def model(self, request: pytest.FixtureRequest) -> BaseChatModel:
        params: dict[str, Any] = {**self.standard_chat_model_params, **self.chat_model_params}
        if request.node.originalname in NEEDS_A_MODEL:
            url = request.getfixturevalue("smollm2_server").url
            params |= {"model": SMOLLM2, "base_url": params["base_url"].replace(self.url, url)}
            params.pop("frequency_penalty", None)
        return self.chat_model_class(**params)


class TestOpenAI(OnTheServer):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        base_url = f"{self.url}/v1"
        params = {"model": "demo", "base_url": base_url, "api_key": "none", "temperature": 0, "stream_usage": True}
        return {**params, "frequency_penalty": 0.5}  # without, the toy may repeat itself in a string without an end


class TestAnthropic(OnTheServer):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "demo", "base_url": self.url, "api_key": "none", "temperature": 0, "max_retries": 0}
