"""The roof: settings, the supervision tree, signals, the command line."""
