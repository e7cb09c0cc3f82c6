"""The BentoML service: predictions over HTTP, and the web page."""
