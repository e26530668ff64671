"""The web page: a Gradio application around the slide viewer, with its chat."""
