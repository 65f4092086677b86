"""From a document's file to its text."""
