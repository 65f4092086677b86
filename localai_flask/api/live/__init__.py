"""The server as it is now, as a stream of pictures: for the page that `GET /` serves, and whoever else watches."""
