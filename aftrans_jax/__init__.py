"""AFTrans: fine-grained visual recognition with a vision transformer's own attention."""
