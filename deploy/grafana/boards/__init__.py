"""The dashboards, one a module: what is drawn on each."""
