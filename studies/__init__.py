"""What `compare.py` trains and plots. One module per study: its grid, its training, its report.

A single run needs none of it.
"""
