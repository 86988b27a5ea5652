"""What is known of videos beside one class: labels, counts, masks."""
