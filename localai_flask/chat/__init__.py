"""Between messages and text: conversations to prompts, and a model's text back to content and tool calls."""
