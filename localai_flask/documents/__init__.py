"""From a document's file to its text, and to images of its pages."""
