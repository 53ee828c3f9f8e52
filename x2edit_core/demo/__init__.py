"""Earlier names of commands: `python -m x2edit_core.demo.NAME` goes on working."""
