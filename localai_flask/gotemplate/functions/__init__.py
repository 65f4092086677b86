"""The functions that templates may call: the language's own, and sprig's."""
