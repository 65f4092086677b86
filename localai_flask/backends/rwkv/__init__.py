"""The RWKV engine: `.pth` checkpoints of the versions 4 to 7 by the package `rwkv`."""
