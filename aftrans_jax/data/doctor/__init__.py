"""What `check_data` finds when it opens every image, and its report."""
