"""Saved workflows: from the page's form to the API's, and executed by a host over HTTP. Standard library only."""
