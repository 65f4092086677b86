"""Getting models, serving them, and talking to the first.

command         `localai-flask run`
words           which words of the command line are models, and which the question
private_server  a server that lives as long as the command
"""
