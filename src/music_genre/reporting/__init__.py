"""Pages and texts for people: Jinja2 templates, and the modules that gather what they show."""
