"""The page that lists the routes: files that the server sends as they are."""
