"""A trained model at work: predictions, explanations, their tables and pages, exports."""
