"""What is known to be true: labelled tiles, drawn slides, and questions with their answers.

Training and evaluation both read it; neither imports the other.
"""
