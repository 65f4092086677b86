"""The tree that the blocks on disk form: which of them, one behind the other, begin as a prompt does.

Each caller has a root of its own. What others have sent could be told by how soon an answer begins, and what lies on
disk would be there to be guessed for days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from localai_flask.backends.llama_cpp.cache.disk.block_file import Block
from localai_flask.backends.llama_cpp.cache.prefix_index import PrefixIndex
from localai_flask.backends.llama_cpp.scheduling.batch import Tokens


class Chain(NamedTuple):
    """Blocks from a root on, of which the first `length` tokens are of use, from a checkpoint if need be."""

    blocks: tuple[Block, ...] = ()
    length: int = 0
    from_checkpoint: bool = False

    @property
    def end(self) -> int:
        """How many tokens the blocks hold."""
        return self.blocks[-1].end if self.blocks else 0

    @property
    def sound(self) -> int:
        """How many tokens at the beginning were computed with nothing beside them."""
        return next((block.sound for block in self.blocks if block.sound < block.end), self.length)

    def cut(self, length: int) -> Chain:
        """Return what is needed for the first `length` tokens."""
        return Chain(tuple(block for block in self.blocks if block.begin < length), length)


def root_of(caller: str) -> str:
    """Return what stands for no tokens of a caller."""
    return hashlib.sha256(b"caller\n" + caller.encode()).hexdigest()[:40]


class BlockTree:
    """Owns the books about blocks, and changes no file."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self.size = 0
        self._children: dict[str, PrefixIndex[Block]] = {}

    def add(self, block: Block) -> None:
        self.remove(block.name)
        self.blocks[block.name] = block
        self.size += block.size
        self._children.setdefault(block.parent, PrefixIndex(lambda block: block.tokens)).add(block)

    def remove(self, name: str) -> None:
        if (block := self.blocks.pop(name, None)) is None:
            return
        self.size -= block.size
        siblings = self._children[block.parent]
        siblings.remove(block)
        if not len(siblings):
            del self._children[block.parent]

    def find(self, caller: str, wanted: Tokens) -> Chain:
        """Find the blocks that have most of a prompt's beginning; of the last one only a part may be of use."""
        best = Chain()
        ways: list[tuple[Block, ...]] = [()]
        while ways:
            way = ways.pop()
            parent, begin = (way[-1].name, way[-1].end) if way else (root_of(caller), 0)
            siblings = self._children.get(parent)
            if siblings is None or begin >= len(wanted):
                continue
            block, common = next(siblings.nearest(wanted[begin:]), (None, 0))
            if block is not None and begin + common > best.length:
                best = Chain((*way, block), begin + common)
            ways += [(*way, each) for each in siblings.beginnings_of(wanted[begin:])]
        return best

    def find_whole(self, caller: str, wanted: Tokens, fits: Callable[[Block, int], bool]) -> Chain:
        """Find the block from which a memory that cannot roll back gets furthest: at its end, or at a checkpoint.

        `fits` returns whether a prompt may start from that many of a block's tokens.
        """
        best = Chain()
        siblings = self._children.get(root_of(caller))
        for block, common in siblings.nearest(wanted) if siblings is not None else ():
            if common <= best.length:
                break
            ends = [each for each in (*block.checkpoints, len(block.tokens)) if each <= common and fits(block, each)]
            if (length := max(ends, default=0)) > best.length:
                best = Chain((block,), length, from_checkpoint=length < len(block.tokens))
        return best

    def replaced_by(self, block: Block) -> list[Block]:
        """Return blocks that are of no use beside one which goes on where they end."""
        siblings = self._children[block.parent].beginnings_of(block.tokens)
        return [each for each in siblings if each is not block and each.name not in self._children]

    def oldest(self) -> Iterator[Block]:
        """Go through blocks that none builds on, those first that were not used for longest; they may be removed."""
        while leaves := [block for block in self.blocks.values() if block.name not in self._children]:
            yield min(leaves, key=lambda block: block.used)
