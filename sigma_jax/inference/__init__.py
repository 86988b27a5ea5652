"""What a library user imports: an encoder, features of many videos."""
