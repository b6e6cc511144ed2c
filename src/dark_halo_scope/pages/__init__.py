"""Pages: one look for everything that people read in a browser; templates of other rooms extend `base.html.j2`."""
