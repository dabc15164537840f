"""From labelled images to transformed examples."""
