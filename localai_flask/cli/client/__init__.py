"""How the commands talk to a running server, this one or another that speaks OpenAI's API.

target      where the server is, and the key for it
transport   requests over TCP and Unix sockets
client      JSON and streams of it, with errors that say what to do
shapes      what of the answers is read
"""
