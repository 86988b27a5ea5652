"""Videos inside tar files, as the webdataset package writes them."""
