"""Feature files of other tools, read as they are: TRIDENT, CLAM, STAMP and HistoGPT.

Each tool has a module that says what its files hold, in the units that they hold it in; `convert`
makes a bag of ours of it. What a file doesn't state is demanded, never guessed.
"""
