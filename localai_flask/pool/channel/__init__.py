"""The channel between one web worker and one model worker: messages in shared memory, and a life line.

The caller makes one sealed memfd with two byte rings, one for each direction, and four eventfds, and hands them over
an AF_UNIX socket with an abstract name. Nothing follows on that socket, so an end-of-file on it is the peer's death,
and as nothing else has a name, the kernel takes everything back whoever is killed.

No index lies in shared memory, and no lock is shared between processes. A writer copies a frame and then adds its
size to the eventfd `published`; a reader takes that counter, copies the frames out and adds what it took to `freed`.
So half a frame is never seen, no wake-up can be lost, and the order of memory accesses is the kernel's business.

`ring` moves frames, `handshake` makes and checks what two ends share, `endpoint` sends and receives messages, `lobby`
takes in new peers, and `hub` waits for many at once. A message is just bytes here; the layer above gives it a meaning.
"""

from localai_flask.pool.channel.endpoint import Channel, ChannelFull, ChannelGone
from localai_flask.pool.channel.hub import Hub, HubEvent, HubEventKind
from localai_flask.pool.channel.ring import MAX_MESSAGE_BYTES, ProtocolError

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Channel",
    "ChannelFull",
    "ChannelGone",
    "Hub",
    "HubEvent",
    "HubEventKind",
    "ProtocolError",
]
