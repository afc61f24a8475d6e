"""Watchers of a training: what shows its metrics to people, in TensorBoard, Weights & Biases or MLflow."""
