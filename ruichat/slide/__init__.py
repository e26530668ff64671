"""Glass to pixels: formats, pyramid, resolution, tissue, quality, tile grid, drawn phantoms."""
