"""What `compare.py` trains and plots. A module a study: its grid, its training and its report.

Nothing that a single run needs.
"""
