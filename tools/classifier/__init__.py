"""The learned classifier's making: its data (`data.py`) and its weights (`train.py`)."""
