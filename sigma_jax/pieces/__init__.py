"""Work in pieces: here, a part of it here, or on the machines of a cluster."""
