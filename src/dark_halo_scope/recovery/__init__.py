"""Known lenses from a catalogue against scored cutouts: which of them does the finder find?"""
