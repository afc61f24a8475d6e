"""Experiments: arms, which are named changes of the configuration, over seeds and data sets."""
