"""Networks at work: scores, speed, predictions, exports."""
