"""An edit of any editor back into its source: `find` tells the story, the others its steps.

`registration` → where the edit lies, `colour` → what became of the colours, `changed` → what it changed, `words` → a report.
"""
