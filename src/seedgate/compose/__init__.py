"""The composition root: settings in, a running application out. No floor below builds its own collaborators."""
