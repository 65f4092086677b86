"""LlamaIndex' agent with one tool, on a server that is like OpenAI's."""

import asyncio
import os
import sys

from edit_file import edit_file
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai_like import OpenAILike


async def main(question: str) -> None:
    llm = OpenAILike(
        model="coder",
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
    )
    print(await FunctionAgent(tools=[edit_file], llm=llm).run(question))


asyncio.run(main(sys.argv[1]))
