"""The process that works on background runs: a web worker without HTTP."""
