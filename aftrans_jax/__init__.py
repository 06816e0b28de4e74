"""AFTrans: fine-grained visual recognition with a vision transformer's own attention."""

__version__ = "0.1.0"
