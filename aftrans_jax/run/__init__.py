"""One run: started, gone on with, evaluated, and what it leaves."""
