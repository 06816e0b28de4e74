"""Using a trained model: predictions, explanations, their tables and pages, exports."""
