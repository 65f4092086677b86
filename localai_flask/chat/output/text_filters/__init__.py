"""What a model's YAML wants done to its answers' text: cutting, extracting and trimming, while it streams.

Each step is a small state machine that holds back only what the text to come could still change, so that a stream adds
up to what the whole text would have become, however it was cut. Knows no reasoning and no tool calls: it is given the
content that is left when those are taken out.
"""
