"""Talking to a model on the terminal.

command     `localai-flask chat`
session     the conversation, its settings, and how it is saved
answers     one streamed answer, and how fast it was
view        the answer on the terminal: Markdown that grows, or plain text in a pipe
slash       what begins with `/`
lines       what the user types: history, completion, several lines
loop        question after question, until Ctrl-D
"""
