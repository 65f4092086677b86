"""The page's chat, as somebody who uses it sees and handles it."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page, expect

FILES = "new URL('.', document.querySelector('script[type=module]').src).href"


class ChatPage:
    def __init__(self, page: Page):
        self.page = page
        self.field = page.get_by_role("textbox", name="Message", exact=True)
        self.stop_button = page.get_by_role("button", name="Stop", exact=True)
        self.conversations = page.get_by_role("navigation", name="Conversations")

    def open(self, url: str, model: str) -> ChatPage:
        self.page.goto(url)
        self.page.get_by_label("Model", exact=True).select_option(model)
        return self

    def ask(self, text: str) -> None:
        """Send a message, and wait until it is taken."""
        self.field.fill(text)
        self.field.press("Enter")
        expect(self.field).to_have_value("")

    def say(self, text: str, **script: Any) -> None:
        """Have the scripted model say a text."""
        self.ask(json.dumps({"say": text, **script}))

    @property
    def answers(self) -> Locator:
        return self.page.locator("article.assistant")

    @property
    def answer(self) -> Locator:
        """The last answer."""
        return self.answers.last

    def await_answer(self, timeout_ms: float = 30_000) -> Locator:
        """Wait until the last answer is whole, and return its element."""
        expect(self.answer).to_have_attribute("aria-busy", "false", timeout=timeout_ms)
        return self.answer

    def text_of(self, answer: Locator) -> str:
        """The text of an answer as the model wrote it, by its own button."""
        answer.get_by_role("button", name="Copy the answer").click()
        return str(self.page.evaluate("navigator.clipboard.readText()"))

    def add_conversation(self, title: str, texts: list[str], **more: Any) -> None:
        """Put a conversation into the browser as an imported file does: questions and answers in turn, with `more`."""
        messages = [
            {
                "id": str(index),
                "parent": str(index - 1) if index else None,
                "role": ("user", "assistant")[index % 2],
                "text": text,
                "created": index + 1,
                "status": "done",
                **more,
            }
            for index, text in enumerate(texts)
        ]
        found = {"title": title, "leaf": messages[-1]["id"], "messages": messages}
        exported = json.dumps({"format": "localai-flask-conversations", "version": 1, "conversations": [found]})
        module = f"import({FILES} + 'views/chat/transfer.js')"
        self.page.evaluate(f"async (text) => (await {module}).importText(text)", exported)
        self.page.reload()
        self.conversations.get_by_role("link", name=title).click()
