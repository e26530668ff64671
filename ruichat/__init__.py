"""RuiChat reads whole-slide images and answers with the regions each claim rests on."""

__version__ = "0.1.0"
