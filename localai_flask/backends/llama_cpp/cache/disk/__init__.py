"""Prompts on disk: computed tokens that outlive the process, as files of which each holds a part of a branch."""
